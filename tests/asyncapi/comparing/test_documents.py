"""Topics, handlers and the whole: what is told of them, what breaks, and what is no document at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, computed_field

from convex_messaging_fastapi import MessageBus, Retry
from convex_messaging_fastapi.asyncapi import NoDocument, changes, document
from tests.asyncapi.comparing.versions import MEMORY, RECEIVED, described, order
from tests.asyncapi.zoo import Cat, Dog, Order, Shipped, zoo


def texts(before: Any, after: Any) -> list[str]:
    """Each change in words, with what breaks marked."""
    return [f"{each}{' !' if each.breaks else ''}" for each in changes(before, after)]


def heard(**choices: Any) -> Any:
    """The document of one handler with these choices."""
    bus = MessageBus(MEMORY)

    async def handle(message: Shipped) -> None: ...

    bus.subscriber("orders", **{"id": "handle", **choices})(handle)
    return document(bus)


def said(*messages: Any, topic: str = "orders") -> Any:
    bus = MessageBus(MEMORY)
    for message in messages:
        bus.publishes(topic, message)
    return document(bus)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (heard(), heard(group="other"), ['operation handle: group is "other", and was "shop"']),
        (heard(), heard(retry=Retry(attempts=9)), ["operation handle: attempts is 9, and was 3"]),
        (heard(), heard(timeout=2.0), ["operation handle: timeoutSeconds is 2.0, and was null"]),
        (
            heard(id="a"),
            heard(id="b"),
            ["operation a is gone", "operation b is new"],
        ),
        (said(Cat), said(Cat, Dog), ["orders, sent Dog: is sent as well"]),
        (said(Cat, Dog), said(Cat), ["orders, sent Dog: is no longer sent !"]),
        (
            said(Cat),
            said(Cat, topic="other"),
            [
                "orders, sent: nothing is sent any more !",
                "other, sent: is sent from now on",
                "operation publish_orders is gone",
                "operation publish_other is new",
            ],
        ),
        (
            said(bytes),
            said(Any),
            [
                'orders, sent orders: its content type is "application/json", and was '
                '"application/octet-stream" !'
            ],
        ),
        (
            said(Cat),
            said(bytes),
            ["orders, sent Cat: is no longer sent !", "orders, sent orders: is sent as well"],
        ),
    ],
)
def test_topics_and_handlers_are_told(before: Any, after: Any, told: list[str]) -> None:
    assert texts(before, after) == told


def test_a_topic_that_is_called_another_in_the_cluster_breaks() -> None:
    before = document(zoo(topic_prefix="one"))
    found = changes(before, document(zoo(topic_prefix="two")))
    assert str(found[0]) == 'anything: its name in the cluster is "two.anything", and was "one.anything"'
    assert {each.topic for each in found if each.breaks} == set(before["channels"])


def test_who_the_app_is_is_told_and_breaks_nothing() -> None:
    one, other = (document(zoo(), FastAPI(title="Shop", version=each)) for each in ("1", "2"))
    assert texts(one, other) == ['the version is "2", and was "1"']


def test_what_one_handler_no_longer_takes_another_still_may() -> None:
    """A message is told once a topic and direction, not once a handler."""
    bus = MessageBus(MEMORY)

    async def handle(message: Shipped) -> None: ...

    bus.subscriber("orders", id="handle")(handle)
    bus.subscriber("orders", id="more", group="other")(handle)
    assert texts(document(bus), heard()) == ["operation more is gone"]


def test_a_class_with_another_name_is_the_same_message() -> None:
    before = order(id=(int, ...))
    after = order(id=(int, ...))
    after.__name__ = after.__qualname__ = "PurchaseOrder"
    from convex_messaging_fastapi.messages.message_types import ATTRIBUTE, WireNames

    setattr(after, ATTRIBUTE, WireNames("Order"))
    found = changes(described(RECEIVED, before), described(RECEIVED, after))
    assert not [each for each in found if each.breaks or each.kind != "told_differently"]


class Named(BaseModel):
    name: str


def named_and_counted() -> type[BaseModel]:
    class Named(BaseModel):
        name: str

        @computed_field
        def letters(self) -> int:
            return len(self.name)

    return Named


def test_a_message_is_found_again_when_it_is_read_and_written_differently() -> None:
    def both(message: Any) -> Any:
        bus = MessageBus(MEMORY)

        async def handle(message): ...  # type: ignore[no-untyped-def]

        handle.__annotations__["message"] = message
        bus.subscriber("names", id="handle")(handle)
        bus.publishes("names", message)
        return document(bus)

    after = both(named_and_counted())
    assert list(after["components"]["messages"]) == ["Named-Input", "Named-Output"]
    assert texts(both(Named), after) == ["names, sent Named: field letters was added, and is required"]


# -- nothing is passed over ----------------------------------------------------------------------


def test_the_order_of_keys_and_servers_do_not_count() -> None:
    here, there = document(zoo()), document(zoo(bootstrap_servers="kafka:9092", security_protocol="SSL"))
    assert changes(here, there) == []
    assert changes(json.loads(json.dumps(here, sort_keys=True)), here) == []


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every text and number of a document."""
    if isinstance(value, dict | list):
        steps = value.items() if isinstance(value, dict) else enumerate(value)
        for step, inner in steps:
            yield from places(inner, (*path, step))
    else:
        yield path


def test_whatever_is_changed_by_hand_is_told() -> None:
    """One value after another: a reference that leads nowhere is refused, and all else is a change."""
    whole = document(zoo(consumer_group="zoo"))
    unseen = []
    for path in places(whole):
        changed = deepcopy(whole)
        owner: Any = changed
        for step in path[:-1]:
            owner = owner[step]
        owner[path[-1]] = "x" if not isinstance(owner[path[-1]], int | float) else owner[path[-1]] + 1
        try:
            if not changes(changed, whole):
                unseen.append(path)
        except NoDocument:
            assert path[-1] in ("$ref", "asyncapi", "action", "type") or "$ref" in path
    assert unseen == []


# -- what is no document -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda told: told.update(asyncapi="2.6.0"), "no line `asyncapi` of version 3"),
        (lambda told: told.update(channels=[]), "its channels are no objects by name"),
        (lambda told: told.update(operations={"a": 1}), "its operations are no objects by name"),
        (lambda told: told["components"].pop("messages"), "refers to '#/components/messages/"),
        (lambda told: told["operations"]["take"].pop("action"), "an operation has no action"),
        (lambda told: told["operations"]["take"].update(action="eat"), "has the action 'eat'"),
        (lambda told: told["components"]["schemas"].update(Order=7), "a schema in it is 7"),
        (lambda told: told["components"]["messages"].update(Order=7), "'Order' is no object"),
        (
            lambda told: told["components"]["schemas"].update(Order={"$ref": "#/components/schemas/Order"}),
            "refers to itself",
        ),
        (
            lambda told: told["components"]["schemas"].update(
                Order={"allOf": [{"$ref": "#/components/schemas/Order"}]}
            ),
            "another form than AsyncAPI gives it",
        ),
        (lambda told: told["components"]["schemas"]["Order"].update(required=7), "another form"),
    ],
)
def test_what_is_no_document_is_refused_with_a_reason(damage: Callable[[Any], object], why: str) -> None:
    damaged = deepcopy(document(zoo()))
    damage(damaged)
    with pytest.raises(NoDocument, match=why.replace("(", r"\(")):
        changes(damaged, document(zoo()))


@pytest.mark.parametrize("whole", [None, [], "asyncapi", {}, {"openapi": "3.1.0"}])
def test_other_json_is_refused(whole: Any) -> None:
    with pytest.raises(NoDocument):
        changes(whole, document(zoo()))


def test_a_document_of_an_older_version_3_is_compared() -> None:
    whole = said(Order)
    assert texts({**whole, "asyncapi": "3.0.0"}, whole) == ['asyncapi is "3.1.0", and was "3.0.0"']
