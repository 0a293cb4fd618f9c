"""Handlers of modules that do not know the bus: each taken in once, also those that come late."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from convex_messaging_fastapi import BusStateError, DeclarationError, MessageBus, Subscribers
from tests.bus.support import memory_bus


async def handle(message: dict[str, Any]) -> None:
    """A handler that does nothing."""


async def other(message: dict[str, Any]) -> None:
    """Another."""


class Service:
    async def handle(self, message: dict[str, Any]) -> None:
        """A bound method is another object each time that it is looked up."""


service = Service()


def subscribers(*declare: Callable[[Subscribers], object]) -> Subscribers:
    made = Subscribers()
    for one in declare:
        one(made)
    return made


def ids(bus: MessageBus) -> list[str]:
    return [declared.id for declared in bus._declarations]


def test_the_same_subscribers_are_included_once() -> None:
    bus = memory_bus()
    for made in (subscribers(), subscribers(lambda s: s.subscriber("t")(handle))):
        bus.include(made)
        before = ids(bus)
        with pytest.raises(DeclarationError, match="these Subscribers are included already"):
            bus.include(made)
        assert ids(bus) == before


AGAIN: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "the same topic": (lambda s: s.subscriber("t")(handle), lambda s: s.subscriber("t")(handle)),
    "the same group": (
        lambda s: s.subscriber("t", group="g")(handle),
        lambda s: s.subscriber("t", group="g")(handle),
    ),
    "one topic of several": (
        lambda s: s.subscriber("t", "u")(handle),
        lambda s: s.subscriber("v", "u")(handle),
    ),
    "another id": (lambda s: s.subscriber("t")(handle), lambda s: s.subscriber("t", id="x")(handle)),
    "a bound method": (
        lambda s: s.subscriber("t")(service.handle),
        lambda s: s.subscriber("t")(service.handle),
    ),
    "a queue": (lambda s: s.receiver("q")(handle), lambda s: s.receiver("q")(handle)),
}


@pytest.mark.parametrize("first, second", AGAIN.values(), ids=AGAIN)  # noqa: PT006 - a pair
@pytest.mark.parametrize("declared_first", ["on other Subscribers", "on the bus", "late"])
def test_the_same_handler_for_the_same_topic_and_group_is_included_once(
    first: Callable[[Any], object], second: Callable[[Any], object], declared_first: str
) -> None:
    bus, late = memory_bus(), subscribers()
    if declared_first == "on other Subscribers":
        bus.include(subscribers(first))
    else:
        first(bus)
    before = ids(bus)
    if declared_first == "late":
        bus.include(late)
        add: Callable[[], object] = partial(second, late)
    else:
        add = partial(bus.include, subscribers(lambda s: s.subscriber("innocent")(other), second))
    with pytest.raises(DeclarationError, match="is included already"):
        add()
    assert ids(bus) == before, "all of them, or none"


APART: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "another group": (lambda s: s.subscriber("t")(handle), lambda s: s.subscriber("t", group="g")(handle)),
    "another topic": (lambda s: s.subscriber("t")(handle), lambda s: s.subscriber("u")(handle)),
    "another handler": (lambda s: s.subscriber("t")(handle), lambda s: s.subscriber("t")(other)),
    "another service": (
        lambda s: s.subscriber("t")(service.handle),
        lambda s: s.subscriber("t")(Service().handle),
    ),
}


@pytest.mark.parametrize("first, second", APART.values(), ids=APART)  # noqa: PT006 - a pair
def test_what_differs_is_taken_in_beside_it(
    first: Callable[[Any], object], second: Callable[[Any], object]
) -> None:
    bus = memory_bus()
    bus.include(subscribers(first))
    bus.include(subscribers(second))
    assert len(ids(bus)) == 2


def test_what_was_refused_can_be_mended_and_included() -> None:
    bus, made = memory_bus(), subscribers(lambda s: s.subscriber("t", id="taken")(handle))
    bus.subscriber("u", id="taken")(other)
    with pytest.raises(DeclarationError, match="'taken'"):
        bus.include(made)
    made.remove("taken")
    made.subscriber("t")(handle)
    bus.include(made)
    assert len(ids(bus)) == 2


async def test_a_handler_declared_after_the_include_is_called() -> None:
    bus, made = memory_bus(), subscribers()
    got: list[Any] = []
    bus.include(made)

    @made.subscriber("t")
    async def late(message: dict[str, Any]) -> None:
        got.append(message)

    @made.receiver("q")
    async def late_as_well(message: dict[str, Any]) -> None:
        got.append(message)

    async with bus.test() as bench:
        await bus.publish("t", {"n": 1})
        await bus.send("q", {"n": 2})
        await bench.settle()
    assert sorted(message["n"] for message in got) == [1, 2]


def test_a_late_handler_that_cannot_be_supplied_is_refused_where_it_is_declared() -> None:
    bus, made = memory_bus(), subscribers()
    bus.include(made)

    async def asks_too_much(message: dict[str, Any], page: int) -> None: ...

    with pytest.raises(DeclarationError, match="page"):
        made.subscriber("t")(asks_too_much)
    assert list(made) == []


@pytest.mark.parametrize(("declare", "verb"), [("subscriber", "subscribe"), ("receiver", "receive")])
async def test_after_the_start_a_late_handler_is_told_of_the_verb(declare: str, verb: str) -> None:
    bus, made = memory_bus(), subscribers()
    bus.include(made)
    async with bus.test():
        with pytest.raises(DeclarationError, match=rf"await bus\.{verb}\("):
            getattr(made, declare)("t")(handle)
        with pytest.raises(BusStateError, match=r"await bus\.subscribe"):
            bus.include(subscribers(lambda s: s.subscriber("t")(handle)))
    assert ids(bus) == []
    assert list(made) == []
    getattr(made, declare)("t")(handle)  # it has stopped, and may start again
    assert len(ids(bus)) == 1


def test_subscribers_serve_several_buses_and_hold_none_of_them() -> None:
    one, two, made = memory_bus(), memory_bus(), subscribers()
    one.include(made)
    two.include(made)
    made.subscriber("t")(handle)
    assert len(ids(one)) == len(ids(two)) == 1
    del one
    gc.collect()
    made.subscriber("u")(handle)
    assert len(ids(two)) == 2


async def test_what_one_bus_refuses_no_other_keeps() -> None:
    stopped, running, made = memory_bus(), memory_bus(), subscribers()
    stopped.include(made)
    running.include(made)
    async with running.test():
        with pytest.raises(DeclarationError, match="a running bus has included"):
            made.subscriber("t")(handle)
    assert (ids(stopped), ids(running), list(made)) == ([], [], [])
    made.subscriber("t")(handle)
    assert len(ids(stopped)) == len(ids(running)) == 1


@pytest.mark.parametrize(
    "given", [None, "handlers", handle, [], Subscribers], ids=lambda given: type(given).__name__
)
def test_what_are_no_subscribers_is_refused(given: Any) -> None:
    with pytest.raises(DeclarationError, match=r"bus\.include takes Subscribers, not"):
        memory_bus().include(given)
