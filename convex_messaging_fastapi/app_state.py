"""The buses that run in an app, as its own state and the state of its requests show them."""

from __future__ import annotations

from typing import Any

from convex_messaging_fastapi.life import Life

STATE_KEY = "messaging_bus"
"""The key of a running bus in the state that its lifespan yields, and in the state that handlers see."""

BUSES_KEY = "messaging_buses"
"""The key of all buses of an app: one list, shared by the app and its requests, but not by handlers."""


def to_handlers(bus: Any) -> dict[str, Any]:
    """The state that handlers see: their own bus alone, whatever the lifespans around it have yielded."""
    return {STATE_KEY: bus, BUSES_KEY: ()}


def register(app: Any | None, bus: Any, life: Life) -> None:
    """A bus has started in an app."""
    if (state := getattr(app, "state", None)) is None:
        return
    setattr(state, BUSES_KEY, registered := getattr(state, BUSES_KEY, []))
    registered[:] = [*(each for each in registered if each[1].begun and each[0] is not bus), (bus, life)]


def running_in(state: object) -> list[Any]:
    """The buses that run in the app whose state this is, or a request's; in the order of their starts."""
    return [bus for bus, life in getattr(state, BUSES_KEY, ()) if life.begun]


def yielded(app: Any | None, bus: Any) -> dict[str, Any]:
    """What the lifespan of a bus yields. Where an app has several, the first one's `STATE_KEY` wins."""
    registered = getattr(getattr(app, "state", None), BUSES_KEY, None)
    return {STATE_KEY: bus} if registered is None else {STATE_KEY: bus, BUSES_KEY: registered}
