"""Says what to open and what to try while `make run` serves the example app."""

from __future__ import annotations

import os
import socket
import sys

from example_app.console import PREFIX, VARIABLE, NotUnderstood, users

TEXT = """
The example app, a small betting service, on {kafka}.

  open   {app}/docs          every route, to try by hand
         {app}/asyncapi      every topic and message
         {app}/health/kafka  what a probe is told

  try    curl -s {app}/users -H 'content-type: application/json' -d '{{"email": "ada@example.com"}}'
         curl -s {app}/users          # welcomed: the event and the command have been handled
         curl -s {app}/bets -H 'content-type: application/json' -d '{{"user_id": 1, "stake": "10.00"}}'
         curl -s {app}/bets -H 'content-type: application/json' \\
              -d '{{"user_id": 1, "stake": "10.00", "card": "declined"}}'
         curl -s {app}/dead-letters   # the declined payment, after three tries in a second
"""

CONSOLE = """
  console  {app}{prefix}  for {names}; `make demo` in another terminal gives it something to show
"""

NO_CONSOLE = """
  console  none: {variable}=ada:a-password:write make run has one, for ada
"""

OPERATE = """
  on call  export CONVEX_APP=example_app.main:app KAFKA_BOOTSTRAP_SERVERS={broker}
           .venv/bin/convex-messaging doctor
           .venv/bin/convex-messaging dead-letters list
           .venv/bin/convex-messaging dead-letters validate   # it is the bank that says no, not the code
           .venv/bin/convex-messaging dead-letters replay     # says what it would do
"""


def main(host: str, port: str, broker: str | None = None) -> None:
    if _answers(f"{host}:{port}"):
        sys.exit(f"something listens on {host}:{port} already: end it, or say `make run PORT=8001`")
    if broker and not _answers(broker):
        print(
            f"\nNothing answers on {broker} yet: say `make kafka` in another terminal; the app will find it."
        )
    print(text(host, port, broker) + console(host, port, os.environ.get(VARIABLE, "")), flush=True)


def text(host: str, port: str, broker: str | None = None) -> str:
    """What to open and what to try, for the app that is served there."""
    kafka = (
        f"the Kafka at {broker}" if broker else "an in-process broker unless KAFKA_BOOTSTRAP_SERVERS is set"
    )
    said = TEXT.format(app=f"http://{host}:{port}", kafka=kafka)
    return said + OPERATE.format(broker=broker) if broker else said


def console(host: str, port: str, named: str) -> str:
    """Where the console is, and for whom; or how there would be one."""
    if not named.strip():
        return NO_CONSOLE.format(variable=VARIABLE)
    try:
        names = " and ".join(user.name for user in users(named))
    except NotUnderstood as error:
        sys.exit(str(error))
    return CONSOLE.format(app=f"http://{host}:{port}", prefix=PREFIX, names=names)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except (OSError, OverflowError, ValueError):  # what is no port, uvicorn says better
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
