"""What is kept of an exception: enough for whoever is woken by it, and nothing that a log must not hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest
from pydantic import BaseModel, field_validator

from convex_messaging_fastapi import Retry
from convex_messaging_fastapi.errors import DecodeError, Reject
from convex_messaging_fastapi.failures import failure_of, frame_of
from convex_messaging_fastapi.messages import codec_for
from convex_messaging_fastapi.messages.convex_message import ConvexMessage
from convex_messaging_fastapi.records import utc
from tests.bus.support import memory_bus


def test_its_type_text_place_and_causes() -> None:
    def outer() -> NoReturn:
        try:
            raise ConnectionError("refused by 10.0.0.1")
        except ConnectionError as error:
            raise Reject("no way to pay") from error

    failure = failure_of(_caught(outer), 2, "payments", "app.pay")
    assert failure.exception_type == "convex_messaging_fastapi.errors.Reject"
    assert failure.text == "no way to pay"
    assert (failure.attempts, failure.group, failure.handler) == (2, "payments", "app.pay")
    assert "in outer" in failure.stack
    assert "ConnectionError: refused by 10.0.0.1" in failure.stack


def test_a_builtin_needs_no_module_and_an_empty_text_is_the_type() -> None:
    failure = failure_of(ValueError(), 1, "g", "h")
    assert (failure.exception_type, failure.text) == ("ValueError", "ValueError")


def test_a_validation_error_does_not_repeat_its_input_not_even_as_a_cause() -> None:
    class Strict(BaseModel):
        number: int

    def validate() -> NoReturn:
        try:
            Strict.model_validate({"number": "s3cr3t"})
        except ValueError as error:
            raise RuntimeError("could not") from error
        raise AssertionError

    failure = failure_of(_caught(validate), 1, "g", "h")
    assert "s3cr3t" not in failure.stack
    assert "valid integer" in failure.stack
    assert "s3cr3t" not in failure_of(failure_cause(validate), 1, "g", "h").text


def test_a_decode_error_tells_nothing_of_the_payload() -> None:
    error = _caught(lambda: codec_for(int).decode(b'"s3cr3t"'))
    failure = failure_of(error, 1, "g", "h")
    assert isinstance(error, DecodeError)
    assert "s3cr3t" not in failure.text + failure.stack


def test_control_characters_are_escaped_and_texts_cut() -> None:
    failure = failure_of(ValueError("a\r\nb\x1b[31m\u2028\u202e" + "x" * 10_000), 1, "g" * 999, "h\n")
    assert failure.text.startswith("a\\r\\nb\\x1b[31m\\u2028\\u202e")
    assert failure.text.isprintable()
    assert len(failure.text) < 2100
    assert len(failure.group) < 300
    assert failure.handler == "h\\n"
    assert failure.stack.replace("\n", "").isprintable()


def _charge(card: str) -> NoReturn:
    int(json.loads(card)["number"])
    raise AssertionError


def test_its_frame_is_the_innermost_place_in_the_users_own_code() -> None:
    """A failure inside a library is told by who called it, not by the library's own line."""
    line = _charge.__code__.co_firstlineno + 1
    for card in ("{", '{"number":"x"}'):
        failure = failure_of(_caught(lambda card=card: _charge(card)), 1, "g", "h")
        assert failure.frame == f"tests/test_failures.py:{line} in _charge"
        assert str(line) in failure.stack


def test_the_frame_of_a_group_is_that_of_the_first_exception_in_it() -> None:
    def both() -> NoReturn:
        raise ExceptionGroup("two", [_caught(lambda: _charge("{")), ValueError("never raised")])

    frame = failure_of(_caught(both), 1, "g", "h").frame
    assert frame is not None
    assert frame.endswith("in _charge")


def test_what_has_not_run_any_code_of_the_users_has_no_frame() -> None:
    assert failure_of(ValueError(), 1, "g", "h").frame is None


def test_where_only_a_library_was_running_the_innermost_of_its_places_is_told() -> None:
    code = compile("def f():\n raise ValueError", "/venv/lib/site-packages/lib/deep.py", "exec")
    space: dict[str, Any] = {"__name__": "lib"}
    exec(code, space)  # noqa: S102
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        space["f"]()
    trace = caught.value.__traceback__
    assert trace is not None
    assert frame_of(caught.value.with_traceback(trace.tb_next)) == "lib/deep.py:2 in f"


def test_an_exception_whose_text_cannot_be_read_is_still_told() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert "cannot be read" in failure_of(Mute(), 1, "g", "h").text


def test_a_deep_stack_and_a_ring_of_causes_are_cut() -> None:
    def dig(depth: int) -> NoReturn:
        if depth:
            dig(depth - 1)
        raise ValueError("bottom")

    error = _caught(lambda: dig(200))
    error.__cause__ = ValueError("other")
    error.__cause__.__cause__ = error
    assert len(failure_of(error, 1, "g", "h").stack) <= 4000


def test_a_suppressed_context_is_left_out() -> None:
    def quiet() -> NoReturn:
        try:
            raise ValueError("s3cr3t")
        except ValueError:
            raise RuntimeError("plain") from None

    assert "s3cr3t" not in failure_of(_caught(quiet), 1, "g", "h").stack


def stack_of(error: BaseException, *, texts: bool = True) -> list[str]:
    return failure_of(error, 1, "g", "h", texts=texts).stack.splitlines()


def functions_in(stack: list[str]) -> list[str]:
    """The names of the functions that its places name, in their order."""
    return [line.rpartition(" in ")[2] for line in stack if line.startswith("  ")]


def outermost() -> NoReturn:
    innermost()


def innermost() -> NoReturn:
    raise ValueError("card 17 is expired")


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(a_child("expired"))
        group.create_task(a_child("unknown"))


async def a_child(what: str) -> None:
    raise ValueError(f"card is {what}")


async def through_asyncio() -> None:
    await asyncio.wait_for(a_child("late"), 5)


@contextmanager
def opened() -> Any:
    yield


async def in_a_context() -> None:
    with opened():
        outermost()


async def in_a_model() -> None:
    class Card(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def known(cls, number: int) -> int:
            return dict[str, int]()["missing"]

    Card(number=1)


async def in_a_thread() -> None:
    await asyncio.to_thread(outermost)


WAYS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "a call": (outermost, ["outermost", "innermost"]),
    "asyncio": (through_asyncio, ["through_asyncio", "a_child"]),
    "a group": (in_a_group, ["in_a_group", "a_child", "a_child"]),
    "a context": (in_a_context, ["in_a_context", "outermost", "innermost"]),
    "a model": (in_a_model, ["in_a_model", "known"]),
    "a thread": (in_a_thread, ["in_a_thread", "outermost", "innermost"]),
}


@pytest.mark.parametrize(("way", "places"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("takes", ["def", "async def"])
async def test_a_stack_tells_places_of_the_user_alone_the_innermost_last(
    way: Callable[[], Any], places: list[str], takes: str
) -> None:
    """However it was called, and through whatever it went: no place of ours, nor of what stands around."""
    bus = memory_bus()
    if takes == "def":

        @bus.subscriber("t", retry=Retry(attempts=1))
        def fail(event: dict[str, Any]) -> None:
            made = way()
            if made is not None:
                asyncio.run(made)

    else:

        @bus.subscriber("t", retry=Retry(attempts=1))
        async def fail_on_the_loop(event: dict[str, Any]) -> None:
            made = way()
            if made is not None:
                await made

    async with bus.test() as t:
        await bus.publish("t", {})
        await t.settle()
        (letter,) = t.dead_letters()
    stack = (letter.stack_trace or "").splitlines()
    assert functions_in(stack) == ["fail" if takes == "def" else "fail_on_the_loop", *places]
    assert not [line for line in stack if "convex_messaging_fastapi/" in line or "site-packages" in line]


async def test_each_exception_of_a_group_is_told_with_its_own_places() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await in_a_group()
    failure = failure_of(caught.value, 1, "g", "h")
    assert failure.text == (
        "unhandled errors in a TaskGroup (2 sub-exceptions): "
        "ValueError: card is expired; ValueError: card is unknown"
    )
    inner = [line for line in failure.stack.splitlines() if not line.startswith("  ")]
    assert inner == [
        "ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)",
        "in it ValueError: card is expired",
        "in it ValueError: card is unknown",
    ]


def test_groups_in_groups_and_the_causes_of_what_is_in_them_are_told() -> None:
    leaf = ValueError("leaf")
    leaf.__cause__ = KeyError("cause")
    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [leaf]), TypeError("other")])
    assert stack_of(nested) == [
        "ExceptionGroup: outer (2 sub-exceptions)",
        "in it ExceptionGroup: inner (1 sub-exception)",
        "in it ValueError: leaf",
        "caused by KeyError: 'cause'",
        "in it TypeError: other",
    ]


def test_without_texts_a_group_tells_the_types_in_it_and_no_cause() -> None:
    leaf = ValueError("4111")
    leaf.__cause__ = KeyError("4111")
    group = ExceptionGroup("4111", [leaf, ValueError("4111"), TypeError("4111")])
    failure = failure_of(group, 1, "g", "h", texts=False)
    assert failure.text.startswith("ExceptionGroup of ValueError, TypeError, whose text is not told")
    assert failure.stack.splitlines() == [
        "ExceptionGroup",
        "in it ValueError",
        "in it ValueError",
        "in it TypeError",
    ]


def test_a_group_of_ten_thousand_is_told_by_its_first() -> None:
    failure = failure_of(ExceptionGroup("many", [ValueError(str(n)) for n in range(10_000)]), 1, "g", "h")
    assert "ValueError: 0; ValueError: 1" in failure.text
    assert failure.text.endswith("and 9995 more")
    assert len(failure.stack) <= 4000


def test_of_a_deep_stack_the_inner_places_are_told_and_the_others_counted() -> None:
    def dig(depth: int) -> NoReturn:
        if depth:
            dig(depth - 1)
        innermost()

    first, *places = stack_of(_caught(lambda: dig(100)))[1:]
    assert first == "  (84 outer ones left out)"
    assert functions_in(places) == ["dig"] * 19 + ["innermost"]


@pytest.mark.parametrize("name", [None, "", 5, b"bytes", ["asyncio"]])
def test_code_whose_module_has_no_name_or_a_strange_one_is_the_users(name: Any) -> None:
    scope: dict[str, Any] = {}
    exec("def fail():\n    raise ValueError('x')", scope)  # noqa: S102 - as templates and plugins do
    scope["__name__"] = name
    assert functions_in(stack_of(_caught(scope["fail"])))[-1] == "fail"


def test_what_we_say_of_bytes_has_no_place_and_a_defect_of_the_machinery_has_its_own() -> None:
    class Note(ConvexMessage):
        number: int

    decoding = _caught(lambda: codec_for(Note).decode(b"{}"))
    assert isinstance(decoding, DecodeError)
    assert functions_in(stack_of(_without_callers(decoding))) == []
    defect = _without_callers(_caught(lambda: utc("no number")))  # type: ignore[arg-type]
    assert functions_in(stack_of(defect)) == ["utc"]


def _without_callers(error: Exception) -> Exception:
    """As raised where no code of a test stands around."""
    trace = error.__traceback__
    while trace is not None and "tests" in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    return error.with_traceback(trace)


def _caught(function: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any will do
        function()
    return caught.value


def failure_cause(function: Any) -> BaseException:
    cause = _caught(function).__cause__
    assert cause is not None
    return cause
