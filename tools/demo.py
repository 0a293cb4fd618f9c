"""Good and failing bets for the example app that `make run` serves, at a steady pace, until Ctrl-C.

They come in by HTTP as anybody's do, so it is the same with a broker and without one. Of some bets the bank
refuses the card, for two reasons: dead letters in two groups, for whoever looks at the console.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from threading import Event
from typing import NamedTuple

import httpx

RATE = 2.0
FASTEST = 50.0
USERS = 8
GOOD = "4242"
DECLINED_EVERY, EXPIRED_EVERY = 5, 12


class Call(NamedTuple):
    """What is posted, and whether its payment will be refused."""

    path: str
    body: dict[str, object]
    fails: bool = False


class Placed(NamedTuple):
    """What came of all calls."""

    taken: int = 0
    failing: int = 0


def calls() -> Iterator[Call]:
    """Some users first, then bets of theirs without end."""
    for number in range(1, USERS + 1):
        yield Call("/users", {"email": f"user{number}@example.com"})
    for number in count(1):
        card, stake = _card(number), f"{number * 7 % 90 + 10}.00"
        bet = {"user_id": number % USERS + 1, "stake": stake, "card": card}
        yield Call("/bets", bet, fails=card != GOOD)


def _card(number: int) -> str:
    if number % DECLINED_EVERY == 0:
        return "declined"
    return "expired" if number % EXPIRED_EVERY == 0 else GOOD


class Demo:
    """Makes one call after another, and says when the app stops answering, and when it answers again."""

    def __init__(self, app: httpx.Client, say: Callable[[str], None]) -> None:
        self._app, self._say = app, say
        self._trouble: str | None = None
        self.placed = Placed()

    def make(self, call: Call) -> bool:
        """Whether the app took it."""
        trouble = self._made(call)
        if trouble != self._trouble:
            self._say(trouble or "the app takes bets again")
            self._trouble = trouble
        if trouble is None:
            self.placed = Placed(self.placed.taken + 1, self.placed.failing + call.fails)
        return trouble is None

    def _made(self, call: Call) -> str | None:
        """What is wrong; `None` when all is well."""
        try:
            answer = self._app.post(call.path, json=call.body)
        except httpx.TransportError:
            return f"nobody answers on {self._app.base_url}: say `make run` in another terminal; trying again"
        if answer.status_code == 503:
            return f"the app cannot publish: {answer.json()['detail']}; trying again"
        if answer.is_error:
            sys.exit(
                f"{call.path} of {self._app.base_url} refuses {call.body}: {answer.status_code} {answer.text}"
            )
        return None


def pace(text: str) -> float:
    """Bets a second. Raises `ValueError`, saying what may be asked for."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= FASTEST:
        raise ValueError(f"RATE={text}: a number of bets a second, above 0 and at most {FASTEST:g}")
    return rate


def main(host: str, port: str, rate: str = f"{RATE:g}") -> None:
    try:
        every = 1 / pace(rate)
    except ValueError as error:
        sys.exit(str(error))
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=10) as app:
        demo = Demo(app, lambda line: print(line, flush=True))
        print(f"{rate} bets a second to {app.base_url}, of which some fail; Ctrl-C ends it", flush=True)
        ended = Event()  # an interrupt that is raised may be raised where Python ignores it
        signal.signal(signal.SIGINT, lambda *_: ended.set())
        for call in calls():
            while not ended.is_set() and not demo.make(call):
                ended.wait(max(every, 1))
            if ended.wait(every):
                break
        print(f"\n{demo.placed.taken} calls taken; {demo.placed.failing} of the payments fail")


if __name__ == "__main__":
    main(*sys.argv[1:])
