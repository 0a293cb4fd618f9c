"""Methods handle messages once they are bound; one that is not is refused with the way to do it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self

import pytest

from convex_messaging_fastapi import DeclarationError, Delivery, MessageBus, Subscribers
from convex_messaging_fastapi.consuming.calling import compile_call
from tests.bus.support import Bet, memory_bus


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def called(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return called


class Service:
    """Its methods, as they are while the class is being made."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    async def on(self, event: dict[str, Any]) -> None:
        self.got.append(event)

    async def alone(self) -> None: ...

    async def untyped(self, event) -> None: ...  # type: ignore[no-untyped-def]

    async def typed(self: Self, event: dict[str, Any]) -> None: ...

    async def otherwise(this, event: dict[str, Any]) -> None: ...  # noqa: N805

    async def with_delivery(self, event: dict[str, Any], delivery: Delivery) -> None:
        self.got.append(delivery.offset)

    def in_a_thread(self, event: dict[str, Any]) -> None:
        self.got.append(event)

    @logged
    async def wrapped(self, event: dict[str, Any]) -> None:
        self.got.append(event)

    async def of_a_class(cls, event: dict[str, Any]) -> None: ...  # noqa: N805

    async def bets(self, events: list[Bet]) -> None: ...


METHODS = [name for name, value in vars(Service).items() if callable(value) and not name.startswith("__")]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_is_not_bound_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        compile_call(getattr(Service, name))
    said = str(refused.value)
    assert said.startswith(f"handler Service.{name} is a method, and nothing supplies its ")
    assert said.endswith(f"as in bus.subscriber('topic')(service.{name})")


def test_it_is_refused_where_it_is_decorated_in_the_body_of_its_class() -> None:
    bus = MessageBus()
    with pytest.raises(DeclarationError, match=r"handler Inside\.on is a method"):

        class Inside:
            @bus.subscriber("bet.placed")
            async def on(self, event: dict[str, Any]) -> None: ...

    with pytest.raises(DeclarationError, match=r"handler Another\.on is a method"):

        class Another:
            @bus.receiver("payments")
            async def on(self) -> None: ...


def test_a_module_of_subscribers_is_told_when_it_is_included() -> None:
    subscribers = Subscribers()

    class Inside:
        @subscribers.subscriber("bet.placed")
        async def on(self, event: dict[str, Any]) -> None: ...

    with pytest.raises(DeclarationError, match=r"handler Inside\.on is a method"):
        MessageBus().include(subscribers)


def test_a_class_method_in_the_body_of_its_class_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        DeclarationError, match=r"\.on is a class method .* bus\.subscriber\('topic'\)\(Service\.on\)"
    ):

        class Inside:
            @MessageBus().subscriber("bet.placed")
            @classmethod
            async def on(cls, event: dict[str, Any]) -> None: ...


class Kinds:
    @classmethod
    async def of_the_class(cls, event: dict[str, Any]) -> None: ...

    @staticmethod
    async def static(event: dict[str, Any]) -> None: ...

    @staticmethod
    async def static_and_untyped(event) -> None: ...  # type: ignore[no-untyped-def]

    async def __call__(self, event: dict[str, Any]) -> None: ...


def test_what_takes_the_message_first_is_no_method_that_wants_an_object() -> None:
    bus = MessageBus()

    class Inside:
        @staticmethod
        @bus.subscriber("bet.placed")
        async def under(event: dict[str, Any]) -> None: ...

        @bus.subscriber("bet.placed")
        @staticmethod
        async def above(event) -> None: ...  # type: ignore[no-untyped-def]

    for handler in (Kinds.of_the_class, Kinds.static, Kinds.static_and_untyped, Kinds(), Inside.under):
        compile_call(handler)


@pytest.mark.parametrize("name", ["on", "in_a_thread", "wrapped"])
async def test_a_bound_method_handles_messages(name: str) -> None:
    bus, service = memory_bus(), Service()
    bus.subscriber("bet.placed")(getattr(service, name))
    async with bus.test() as t:
        await bus.publish("bet.placed", {"n": 1})
        await t.settle()
    assert service.got == [{"n": 1}]


async def test_a_bound_method_is_told_of_the_delivery_and_two_objects_are_two_handlers() -> None:
    bus, first, second = memory_bus(), Service(), Service()
    for service in (first, second):
        bus.subscriber("bet.placed")(service.with_delivery)
    async with bus.test() as t:
        await bus.publish("bet.placed", {"n": 1})
        await t.settle()
    assert (first.got, second.got) == ([0], [0])
