"""Which buses run in an app, told in the app's own state and in the state of its requests."""

from __future__ import annotations

from typing import Any

from convex_messaging_fastapi.life import Life

STATE_KEY = "messaging_bus"
"""Where a running bus is found in the state that its lifespan yields, and in that of its handlers."""

BUSES_KEY = "messaging_buses"
"""Where all buses of an app are found: one list, which the app and its requests share. Not for handlers."""


def to_handlers(bus: Any) -> dict[str, Any]:
    """What handlers find of buses: their own, whichever others the lifespans around it have shown."""
    return {STATE_KEY: bus, BUSES_KEY: ()}


def move_in(app: Any | None, bus: Any, life: Life) -> None:
    """A bus has started in an app."""
    if (state := getattr(app, "state", None)) is None:
        return
    setattr(state, BUSES_KEY, residents := getattr(state, BUSES_KEY, []))
    residents[:] = [*(each for each in residents if each[1].begun and each[0] is not bus), (bus, life)]


def running_in(state: object) -> list[Any]:
    """The buses that run in the app whose state this is, or a request's; in the order of their starts."""
    return [bus for bus, life in getattr(state, BUSES_KEY, ()) if life.begun]


def yielded(app: Any | None, bus: Any) -> dict[str, Any]:
    """What the lifespan of a bus yields. Where an app has several, the first one's `STATE_KEY` wins."""
    residents = getattr(getattr(app, "state", None), BUSES_KEY, None)
    return {STATE_KEY: bus} if residents is None else {STATE_KEY: bus, BUSES_KEY: residents}
