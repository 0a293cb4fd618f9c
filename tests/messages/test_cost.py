"""One record costs time and memory in proportion to its size, whatever its bytes say: read, and buried."""

from __future__ import annotations

import ctypes
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, create_model
from typing_extensions import TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.consuming.dead_letters.building import build_dead_letter
from convex_messaging_fastapi.errors import DecodeError
from convex_messaging_fastapi.failures import failure_of
from convex_messaging_fastapi.messages import DeadLetterMessage, codec_for
from convex_messaging_fastapi.messages.bounds import Bounds
from convex_messaging_fastapi.records import Headers, Record

pytestmark = pytest.mark.cpu

MIB = 1024 * 1024
CPU_SECONDS = 0.150
MEMORY = 64 * MIB
ORDINARY_SECONDS = 0.020
SEED = 20_260_101
MODELS = 12

FIELDS: list[tuple[Any, Any]] = [
    *((int, 0), (float, 0.0), (Decimal, Decimal(0)), (str, ""), (bool, False), (Any, None)),
    *(
        (datetime | None, None),
        (list[int] | None, None),
        (list[float] | None, None),
        (list[str] | None, None),
    ),
    *((list[Decimal] | None, None), (dict[str, int] | None, None), (dict[str, Decimal] | None, None)),
    *((set[str] | None, None), (tuple[int, ...] | None, None), (dict[str, Any] | None, None), (int | str, 0)),
]


class Row(TypedDict, total=False):
    price: Decimal
    name: str


PLAIN: list[Any] = [Any, dict, str, int, list[int], list[Decimal], dict[str, float], Row, DeadLetterMessage]


Make = Callable[[], bytes]
"""A value is made where it is read: all of them together take a quarter of a gigabyte."""


class Case(NamedTuple):
    name: str
    annotation: Any
    make: Make


def models(chance: random.Random) -> Iterator[Any]:
    """Models of up to eight fields, half of them ours, some with another one inside."""
    inner: Any = None
    for number in range(MODELS):
        chosen: dict[str, Any] = {
            f"f{i}": field for i, field in enumerate(chance.choices(FIELDS, k=chance.randint(1, 7)))
        }
        if inner is not None:
            chosen["inner"] = (inner | None, None)
        base: Any = ConvexMessage if number % 2 else BaseModel
        inner = create_model(f"Model{number}", __base__=base, **chosen)
        yield inner


def shapes(size: int) -> dict[str, Make]:
    """JSON, and what only looks like it, of `size` bytes or of as many members as may be."""

    def many(member: bytes, opened: bytes = b"[", closed: bytes = b"]") -> Make:
        members = min(size // (len(member) + 1), 99_000)
        return lambda: opened + b",".join([member] * members) + closed

    def text(piece: bytes) -> Make:
        return lambda: b'"' + piece * ((size - 2) // len(piece)) + b'"'

    def digits(before: bytes, after: bytes = b"") -> Make:
        return lambda: before + b"1" * (size - 10) + after

    return {
        "digits": digits(b""),
        "digits behind a point": digits(b"1."),
        "digits before an exponent": digits(b"", b"e1"),
        "an exponent of digits": digits(b"1e"),
        "zeros before a digit": lambda: b"0." + b"0" * (size - 10) + b"1",
        "digits as text": digits(b'"', b'"'),
        "digits as a key": digits(b'{"', b'":1}'),
        "numbers of 400 digits": many(b"7" * 400),
        "numbers of 401 digits": many(b"7" * 401),
        "numbers with an exponent": many(b"1e400"),
        "numbers with an exponent too large": many(b"1e6144"),
        "small numbers with an exponent": many(b"1.5e-400"),
        "decimals as text": many(b'"1e400"'),
        "decimals as text too large": many(b'"1e999999"'),
        "levels": lambda: b"[" * size,
        "levels of objects": lambda: b'{"a":' * (size // 5),
        "levels that end": many(b"1", b"[" * 100, b"]" * 100),
        "levels again and again": lambda: (
            b"[" + (b"[" * 98 + b"]" * 98 + b",") * min(size // 197, 1000) + b"1]"
        ),
        "empty objects": many(b"{}"),
        "empty objects without an end": lambda: b"[" + b"{}," * (size // 3),
        "objects": many(b'{"a":1}'),
        "short texts": many(b'""'),
        "short numbers": many(b"1"),
        "wrong members": many(b'"x"', closed=b"]}"),
        "one key": many(b'"a":1', b"{", b"}"),
        "many keys": lambda: b"{" + b",".join(b'"%d":1' % n for n in range(min(size // 10, 99_000))) + b"}",
        "text": text(b"a"),
        "text of escapes": text(rb"\u0041"),
        "text of quotation marks": text(rb"\""),
        "text of control characters": lambda: b"\x01" * size,
        "text of two bytes each": text("é".encode()),
        "quotation marks": lambda: b'"' * size,
        "backslashes": lambda: b"\\" * size,
        "blanks": lambda: b" " * size + b"1",
        "no UTF-8": lambda: b"\xff" * size,
        "a mark before each": lambda: b"\xef\xbb\xbf" * (size // 3),
    }


def cases(chance: random.Random) -> Iterator[Case]:
    """Each shape alone, and in a field, for annotations and models that take turns."""
    generated = list(models(chance))
    for size in (MIB, MIB // 2, MIB // 10, MIB // 4, MIB):
        for name, make in shapes(size).items():
            model = chance.choice(generated)
            field = chance.choice(list(model.model_fields))
            alias = model.model_fields[field].alias or field
            within = partial(_in_field, alias.encode(), make)
            yield Case(f"{name} in {model.__name__}.{field}", model, within)
            plain = chance.choice(PLAIN)
            yield Case(f"{name} as {plain}", plain, make)


def _in_field(name: bytes, make: Make) -> bytes:
    return b'{"%s":%s}' % (name, make())


CASES = list(cases(random.Random(SEED)))


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 300


@pytest.mark.parametrize("part", range(10))
def test_what_one_record_costs_is_bounded(part: int) -> None:
    for case in CASES[part::10]:
        value = case.make()
        share = max(1.0, len(value) / MIB)
        spent = _least_spent(codec_for(case.annotation).decode, value, CPU_SECONDS * share)
        assert spent.seconds <= CPU_SECONDS * share, f"{case.name}: {spent}; seed {SEED}"
        assert spent.memory <= MEMORY * share, f"{case.name}: {spent.memory / MIB:.0f} MiB; seed {SEED}"


@pytest.mark.parametrize(
    "name", ["digits behind a point", "decimals as text", "levels", "objects", "text of escapes", "many keys"]
)
def test_ten_times_the_size_costs_ten_times_as_much_at_most(name: str) -> None:
    value = shapes(10 * MIB - 2)[name]()
    for annotation in (dict, list[Decimal]):
        spent = _least_spent(codec_for(annotation).decode, value, 10 * CPU_SECONDS)
        assert spent.seconds <= 10 * CPU_SECONDS
        assert spent.memory <= 10 * MEMORY


def test_without_the_look_before_it_the_same_costs_far_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bet(ConvexMessage):
        bet_id: int
        stake: Decimal

    decode = codec_for(Bet).decode
    value = b'{"Stake":1,"BetId":1.' + b"1" * 200_000 + b"}"
    assert _least_spent(decode, value, CPU_SECONDS).seconds <= CPU_SECONDS
    monkeypatch.setattr(Bounds, "check", lambda bounds, value: None)
    assert _spent(decode, value).seconds > CPU_SECONDS


class Spent(NamedTuple):
    seconds: float
    memory: int


def _least_spent(decode: Callable[[bytes], Any], value: bytes, enough: float, headers: Headers = ()) -> Spent:
    """Of up to five tries: another process on the same core makes this one slower, too."""
    spent = _spent(decode, value, headers)
    for _ in range(4):
        if spent.seconds > enough:
            again, slowness = _spent(decode, value, headers), _slowness()
            spent = min(spent, again._replace(seconds=again.seconds / slowness))
    return spent


def _slowness() -> float:
    """How much more a fixed piece of work takes now than on the machine that the bound was measured on."""
    with _unwatched():
        started = time.thread_time()
        kept = [{"a": len(str(number))} for number in range(100_000)]
        taken = time.thread_time() - started
    assert len(kept) == 100_000
    return max(1.0, taken / ORDINARY_SECONDS)


def _spent(decode: Callable[[bytes], Any], value: bytes, headers: Headers = ()) -> Spent:
    """Processor time of this thread, and memory at its highest over what there was before."""
    with suppress(AttributeError):  # what was freed before would be taken again, and not counted
        ctypes.CDLL(None).malloc_trim(0)
    (_SELF / "clear_refs").write_text("5")  # forget the highest so far
    with _unwatched():
        before, started = _resident("VmRSS"), time.thread_time()
        _read_and_bury(decode, value, headers)
        return Spent(time.thread_time() - started, _resident("VmHWM") - before)


@contextmanager
def _unwatched() -> Iterator[None]:
    """Without whoever measures coverage: to look at each line takes as long as the line itself."""
    watcher = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(watcher)


HEADERS: dict[str, Headers] = {
    "many": tuple((f"h{number}", b"") for number in range(8_000)),
    "many of one name": tuple(("a", b"1") for _ in range(8_000)),
    "a long value": (("a", b"v" * MIB),),
    "a value of control characters": (("a", b"\x01" * MIB),),
    "a value that is no UTF-8": (("a", b"\xff" * MIB),),
    "a long name": (("n" * MIB, b"v"),),
    "a long correlation id": (("correlation-id", b"\n" * MIB), ("message-id", b"\x1b" * MIB)),
    "a replay count of a million digits": (("x-convex-replay-count", b"1" * MIB),),
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_headers_cost_no_more_than_their_size_either(headers: Headers) -> None:
    def decode(value: bytes) -> None:
        raise DecodeError("the value is no Bet")

    share = max(1.0, sum(len(name) + len(value or b"") for name, value in headers) / MIB)
    spent = _least_spent(decode, b"x", CPU_SECONDS * share, headers)
    assert spent.seconds <= CPU_SECONDS * share
    assert spent.memory <= MEMORY * share


def _read_and_bury(decode: Callable[[bytes], Any], value: bytes, headers: Headers = ()) -> None:
    error: Exception = ValueError("the handler failed")
    try:
        decode(value)
    except DecodeError as refused:
        error = refused
    failure = failure_of(error, 3, "bets", "collect")
    for limit in (2 * MIB, 64 * 1024):
        build_dead_letter(Record("bets", 0, 0, 0, None, value, headers), failure, datetime.now(UTC), limit)


_SELF = Path("/proc/self")
"""What Linux knows of this process; Python's own counting misses what the parsers take, and slows them."""


def _resident(name: str) -> int:
    line = next(line for line in (_SELF / "status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
