"""Every keyword that declares a handler: right ones reach it, wrong ones are told by the method called."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import fields
from functools import partial
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest
from typing_extensions import Doc

from convex_messaging_fastapi import (
    Batch,
    Breaker,
    ConvexMessage,
    DeclarationError,
    Delivery,
    MessageBus,
    Retry,
    Subscribers,
    of_type,
)
from convex_messaging_fastapi.policies import DeadLetterPolicy, SubscriberOptions
from tests.bus.support import memory_bus


class Shipped(ConvexMessage):
    order_id: int


async def handle(message: list[Any]) -> None:
    """Takes a batch as well as a list."""


def plain(delivery: Delivery) -> bool:
    return True


async def asynchronous(delivery: Delivery) -> bool:
    return True


def generator(delivery: Delivery) -> Iterator[bool]:
    yield True


async def async_generator(delivery: Delivery) -> AsyncIterator[bool]:
    yield True


class AsyncObject:
    async def __call__(self, delivery: Delivery) -> bool:
        return True


RIGHT: dict[str, list[Any]] = {
    "group": ["mail", None],
    "id": ["welcome", None],
    "concurrency": [1, 64, None],
    "ordering": ["key", "partition", "none"],
    "retry": [Retry(attempts=None), None],
    "dead_letter": list(get_args(DeadLetterPolicy)),
    "timeout": [1, 0.5, None],
    "batch": [Batch(10), None],
    "filter": [plain, of_type(Shipped), partial(plain), lambda delivery: False, None],
    "breaker": [Breaker(), Breaker(share=1, of=3, wait_seconds=0.5), False, None],
}

WRONG: dict[str, list[Any]] = {
    "group": [5, "", " ", b"mail", ["mail"], True],
    "id": [5, "", " ", b"welcome", object],
    "concurrency": [0, -1, "3", 2.5, True],
    "ordering": ["Key", "topic", None, 5, True, ["key"], {}],
    "retry": [3, True, "3", {"attempts": 3}, Retry, (5, 1.0)],
    "dead_letter": [True, False, None, "burry", "orders.dlq", {}],
    "timeout": [0, -1, "5s", "5", True, float("nan"), [5]],
    "batch": [True, 100, Batch, {"max_records": 5}, "100"],
    "filter": [
        *("Shipped", Shipped, True, [plain], lambda: True, lambda a, b: True),
        *(asynchronous, generator, async_generator, AsyncObject(), partial(asynchronous)),
    ],
    "breaker": [True, 0, 30, Breaker, "on", {"share": 0.9}],
}


class RunsItsAnnotations:
    """As functions do from Python 3.14 on, whose types are there for type checkers alone."""

    @property
    def __signature__(self) -> Any:
        raise NameError("Delivery")

    def __call__(self, delivery: Delivery) -> bool:
        return True


RIGHT["filter"].append(RunsItsAnnotations())

OTHER_DEFAULT = {"ordering": "key", "dead_letter": "bury"}

VERBS: dict[str, Callable[..., Any]] = {
    "MessageBus.subscriber": MessageBus().subscriber,
    "MessageBus.receiver": MessageBus().receiver,
    "MessageBus.subscribe": partial(MessageBus().subscribe, handler=handle),
    "MessageBus.receive": partial(MessageBus().receive, handler=handle),
    "Subscribers.subscriber": Subscribers().subscriber,
    "Subscribers.receiver": Subscribers().receiver,
}
EVERY_VERB = pytest.mark.parametrize("verb", VERBS)


def refusal(verb: str, **choices: Any) -> str:
    with pytest.raises(DeclarationError) as refused:
        VERBS[verb]("bet.placed", **choices)
    said = str(refused.value)
    assert said.startswith(f"{verb}(): ")
    assert "SubscriberOptions" not in said
    return said.removeprefix(f"{verb}(): ")


def function_of(verb: str) -> Callable[..., Any]:
    kind, _, name = verb.partition(".")
    function: Callable[..., Any] = getattr({"MessageBus": MessageBus, "Subscribers": Subscribers}[kind], name)
    return function


def test_the_tables_have_every_keyword() -> None:
    keywords = {each.name for each in fields(SubscriberOptions)}
    assert set(RIGHT) == set(WRONG) == keywords


@EVERY_VERB
def test_each_keyword_stands_in_the_signature_with_its_default_and_its_words(verb: str) -> None:
    function = function_of(verb)
    parameters = inspect.signature(function).parameters
    hints = get_type_hints(function, include_extras=True)
    for name in RIGHT:
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default == OTHER_DEFAULT.get(name)
        assert isinstance(get_args(hints[name])[1], Doc)
        assert f"\n    {name}: " in (inspect.getdoc(function) or "")


@pytest.mark.parametrize("owner", [Subscribers, MessageBus])
@pytest.mark.parametrize("verb", ["subscriber", "receiver"])
@pytest.mark.parametrize(("name", "value"), [(name, value) for name in RIGHT for value in RIGHT[name]])
def test_a_choice_reaches_the_declaration(owner: Any, verb: str, name: str, value: Any) -> None:
    made = owner()
    assert getattr(made, verb)("bet.placed", **{name: value})(handle) is handle
    [declared] = made if owner is Subscribers else made._declarations
    assert declared.options == SubscriberOptions(**{name: value})


@pytest.mark.parametrize("verb", ["subscribe", "receive"])
async def test_a_choice_reaches_a_declaration_at_run_time(verb: str) -> None:
    bus = memory_bus()
    choices = {name: values[0] for name, values in RIGHT.items()}
    async with bus.test():
        assert await getattr(bus, verb)("bet.placed", handle, **choices) == "welcome"
        [declared] = bus._declarations
        assert declared.options == SubscriberOptions(**choices)


@EVERY_VERB
@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_a_wrong_value_is_told_with_what_is_taken(verb: str, name: str, value: Any) -> None:
    said = refusal(verb, **{name: value})
    assert said.startswith(f"{name} takes ")
    assert said.endswith(f", not {value!r}")


def _slips(name: str) -> Iterator[str]:
    """One letter left out, doubled, or two of them swapped."""
    for at in range(len(name)):
        yield name[:at] + name[at + 1 :]
        yield name[:at] + name[at] + name[at:]
        yield name[:at] + name[at : at + 2][::-1] + name[at + 2 :]
    yield name.upper()
    yield f"{name}s"


@EVERY_VERB
@pytest.mark.parametrize("name", RIGHT)
def test_a_slip_in_a_keyword_is_told_with_the_one_that_was_meant(verb: str, name: str) -> None:
    for slip in {*_slips(name)} - {*RIGHT, ""}:
        assert refusal(verb, **{slip: RIGHT[name][0]}) == (
            f"there is no keyword {slip!r}: did you mean {name!r}?"
        )


@EVERY_VERB
@pytest.mark.parametrize(
    ("habit", "advice"),
    [
        ("group_id", "say group="),
        ("max_workers", "say concurrency=8"),
        ("retries", "say retry=Retry(attempts="),
        ("max_retry_attempts", "say retry=Retry(attempts="),
        ("dependencies", "Annotated[Type, Depends(function)]"),
        ("middlewares", "functools.wraps"),
        ("ack_policy", "committed"),
        ("auto_commit", "Reject, Discard or RetryAfter"),
        ("auto_offset_reset", "KAFKA_AUTO_OFFSET_RESET"),
        ("batch_timeout_ms", "say batch=Batch("),
        ("decoder", "annotated with `bytes`"),
        ("types", "say filter=of_type(Model)"),
        ("dead_letter_topic", "dead_letter='bury'"),
        ("topics", "topics come first"),
        ("title", "there are "),
    ],
)
def test_what_other_libraries_call_it_is_answered_by_what_to_do(verb: str, habit: str, advice: str) -> None:
    said = refusal(verb, **{habit: SimpleNamespace()})
    assert said.startswith(f"there is no keyword {habit!r}: ")
    assert advice in said


def test_a_batch_without_order_is_refused() -> None:
    for verb in VERBS:
        said = refusal(verb, batch=Batch(10), ordering="none")
        assert said.startswith("a batch keeps the order of its partition")


@pytest.mark.parametrize("verb", ["subscribe", "receive"])
def test_a_verb_of_run_time_used_as_a_decorator_is_told_the_decorator(verb: str) -> None:
    with pytest.raises(
        DeclarationError, match=rf"^MessageBus.{verb}\(\): .*write @bus.subscriber\('topic'\)"
    ):
        getattr(MessageBus(), verb)("bet.placed")


def test_several_queues_for_one_receiver_are_refused() -> None:
    with pytest.raises(DeclarationError, match=r"^Subscribers.receiver\(\): too many positional arguments"):
        Subscribers().receiver("payments", "refunds")  # type: ignore[call-arg]


def test_the_verb_is_named_by_the_class_that_the_user_made() -> None:
    class OurBus(MessageBus):
        pass

    with pytest.raises(DeclarationError, match=r"^OurBus.subscriber\(\): there is no keyword 'retires'"):
        OurBus().subscriber("bet.placed", retires=3)  # type: ignore[call-arg]
