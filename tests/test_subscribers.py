"""Declarations are checked when they are made, and keep the functions as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NewType

import pytest
from typing_extensions import TypeAliasType

from convex_messaging_fastapi import DeclarationError, MessageBus, Subscribers
from convex_messaging_fastapi.subscribers import Publication


async def handle(message: dict[str, Any]) -> None:
    """A handler that does nothing."""


def test_a_declaration_is_known_by_its_handlers_name() -> None:
    subscribers = Subscribers()

    assert subscribers.subscriber("bet.placed")(handle) is handle

    (declared,) = subscribers
    assert declared.id.endswith("test_subscribers.handle")
    assert (declared.kind, declared.topics) == ("event", ("bet.placed",))


def test_one_function_may_handle_several_topics_each_with_an_id_of_its_own() -> None:
    subscribers = Subscribers()
    for topic in ("a", "b", "c"):
        subscribers.subscriber(topic)(handle)

    assert [declared.id.rpartition("handle")[2] for declared in subscribers] == ["", "#2", "#3"]


def test_an_id_that_was_chosen_is_refused_a_second_time() -> None:
    subscribers = Subscribers()
    subscribers.subscriber("a", id="mine")(handle)

    with pytest.raises(DeclarationError, match="two subscribers have the id 'mine'"):
        subscribers.subscriber("b", id="mine")(handle)


def test_a_queue_has_one_receiver_and_may_have_another_once_that_is_removed() -> None:
    subscribers = Subscribers()
    subscribers.receiver("payments", id="first")(handle)
    with pytest.raises(DeclarationError, match="already has the receiver 'first'"):
        subscribers.receiver("payments")(handle)

    assert subscribers.remove("first") is not None
    subscribers.receiver("payments")(handle)
    assert subscribers.remove("first") is None


@pytest.mark.parametrize(
    ("topics", "sentence"),
    [((), "at least one topic"), (("",), "non-empty"), (("a", "a"), "named twice"), ((7,), "non-empty")],
)
def test_topics_that_say_nothing_are_refused(topics: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        Subscribers().subscriber(*topics)(handle)


@pytest.mark.parametrize("declare", [Subscribers().subscriber, Subscribers().receiver, MessageBus().receiver])
def test_a_decorator_without_parentheses_is_refused_at_once(declare: Callable[..., Any]) -> None:
    with pytest.raises(DeclarationError, match="at least one topic"):

        @declare
        async def handler(message: dict[str, Any]) -> None: ...


def test_a_handler_is_something_that_can_be_called() -> None:
    with pytest.raises(DeclarationError, match="a handler is a function"):
        Subscribers().subscriber("a")("not a function")  # type: ignore[type-var]
    with pytest.raises(DeclarationError) as refused:
        Subscribers().subscriber("a")("x" * 10_000)  # type: ignore[type-var]
    assert len(str(refused.value)) < 200


UserId = NewType("UserId", int)
Users = TypeAliasType("Users", list[dict[str, int]])


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (dict, dict),
        (dict[str, int] | None, dict[str, int] | None),
        (Annotated[int, "a number"], Annotated[int, "a number"]),
        (UserId, UserId),
        (Users, Users),
        (Any, Any),
        (None, type(None)),
    ],
)
@pytest.mark.parametrize("on", [Subscribers, MessageBus])
def test_what_an_app_publishes_is_told_by_any_type(
    on: type[Subscribers] | type[MessageBus], message: Any, told: Any
) -> None:
    bus, declares = MessageBus(), on()
    bus.publishes("user.created", str)
    declares.publishes("user.created", message)
    declares.publishes("user.created", message)
    if isinstance(declares, Subscribers):
        bus.include(declares)
        assert [each.message for each in bus._declarations.publications] == [str, told]
    else:
        assert declares._declarations.publications == (Publication("user.created", told),)


def test_what_included_subscribers_tell_later_counts_too() -> None:
    bus, subscribers = MessageBus(), Subscribers()
    bus.include(subscribers)
    subscribers.publishes("payments", int)
    assert bus._declarations.publications == (Publication("payments", int),)


@pytest.mark.parametrize(
    ("topic", "message", "sentence"),
    [
        ("", dict, "non-empty"),
        (7, dict, "non-empty"),
        ("a b", dict, "cannot be the name of a topic"),
        ("x" * 250, dict, "Kafka takes 249"),
        (
            "user.created",
            {"id": 7},
            "messages of a type, as in bus.publishes\\('user.created', UserCreated\\), ",
        ),
        ("user.created", "UserCreated", "not 'UserCreated'"),
    ],
)
def test_what_is_published_is_a_type_and_a_topic(topic: Any, message: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        MessageBus().publishes(topic, message)
