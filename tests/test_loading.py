"""What is loaded, and when: nothing on import, and never more than a service uses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import convex_messaging_fastapi

ROOT = Path(__file__).parents[1]

LOADED = """
import sys
heavy = {"aiokafka", "fastapi", "pydantic", "starlette"}
print(*sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""

SERVICE = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from convex_messaging_fastapi import Bus, MessageBus, MessagingRouter, MessagingSettings

bus = MessageBus(MessagingSettings(bootstrap_servers="memory://"))
app = FastAPI()
app.include_router(MessagingRouter(bus))
handled = []

@bus.subscriber("orders")
async def handle(order: dict) -> None:
    handled.append(order)

@app.post("/orders")
async def place(bus: Bus) -> int:
    return (await bus.publish("orders", {"id": 7})).offset

with TestClient(app) as client:
    assert client.post("/orders").json() == 0
    assert client.get("/health/kafka/ready").status_code == 200
assert handled == [{"id": 7}]
"""

ROOM_BY_ROOM = """
import json, sys
import fastapi, pydantic_settings
from convex_messaging_fastapi import _ROOMS
for room, names in _ROOMS.items():
    for name in [name for name in sys.modules if name.startswith("convex_messaging_fastapi")]:
        del sys.modules[name]
    import convex_messaging_fastapi as front_door
    for name in names:
        assert getattr(front_door, name) is vars(sys.modules[f"{front_door.__name__}.{room}"])[name], name
"""


def ran(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


STEPS = {
    "import convex_messaging_fastapi": "",
    "dir(convex_messaging_fastapi)": "",
    "from convex_messaging_fastapi import Batch, Delivery, Reject, Retry": "",
    "from convex_messaging_fastapi import MessagingSettings": "pydantic",
    "import convex_messaging_fastapi.wiring": "fastapi pydantic starlette",
    "from convex_messaging_fastapi import *": "fastapi pydantic starlette",
    SERVICE: "fastapi pydantic starlette",
}
"""One after another: what each may load, those before it may not."""


def test_no_more_is_loaded_than_is_used() -> None:
    assert ran("".join(step + LOADED for step in STEPS)).split("\n") == [*STEPS.values()]


def test_what_extras_bring_is_loaded_by_none_but_who_uses_it() -> None:
    """A class may be named, and what needs no library may be made. FastAPI loads the API of OpenTelemetry."""
    program = """
import sys
from convex_messaging_fastapi import *
from convex_messaging_fastapi import CorrelationFilter, OpenTelemetry, Prometheus
CorrelationFilter(), OpenTelemetry()
loaded = {"prometheus_client", "opentelemetry.sdk", "structlog"} & {*sys.modules}
assert not loaded, loaded
Prometheus()
assert "prometheus_client" in sys.modules
"""
    ran(program)


@pytest.mark.parametrize(
    ("missing", "made", "extra"),
    [
        ("prometheus_client", "Prometheus()", "prometheus"),
        ("opentelemetry.metrics", "OpenTelemetry()", "opentelemetry"),
    ],
)
def test_who_uses_what_is_not_installed_is_told_which_extra_has_it(
    missing: str, made: str, extra: str
) -> None:
    program = f"""
import asyncio, sys
import fastapi  # which may use it itself
sys.modules[{missing!r}] = None
from convex_messaging_fastapi import *
async def main():
    async with MessageBus(MessagingSettings(bootstrap_servers="memory://"), observers=[{made}]):
        pass
try:
    asyncio.run(main())
except ConfigurationError as error:
    print(error)
"""
    assert ran(program).endswith(f"pip install 'convex-messaging-fastapi[{extra}]'")


def test_each_room_can_be_the_first_that_is_loaded() -> None:
    ran(ROOM_BY_ROOM)


def test_dir_tells_every_name_before_any_is_loaded() -> None:
    program = "import json, convex_messaging_fastapi as door; print(json.dumps(dir(door)))"
    assert set(convex_messaging_fastapi.__all__) <= set(json.loads(ran(program)))


def test_a_name_that_is_not_shown_is_refused_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'MesageBus'") as refused:
        convex_messaging_fastapi.MesageBus  # type: ignore[attr-defined]  # noqa: B018
    assert (refused.value.name, refused.value.obj) == ("MesageBus", convex_messaging_fastapi)
