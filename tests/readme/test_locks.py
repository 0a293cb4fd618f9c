"""The page of the house names every lock of the package, in the order that they are taken in."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

import convex_messaging_fastapi
from tests.bus.support import memory_bus
from tests.readme.reading import PAGES

PACKAGE = Path(convex_messaging_fastapi.__file__).parent
KINDS = {"Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"}
ROW = re.compile(r"^ *\| (\d) \| `(?:(\w+)\.)?(\w+)` \| `([\w/]+\.py)` \|", re.MULTILINE)


class Lock(NamedTuple):
    """One lock: the class that has it, where it has one, and the attribute or name it is kept in."""

    owner: str
    name: str
    file: str


TABLE = [(int(rank), Lock(owner, name, file)) for rank, owner, name, file in ROW.findall(PAGES["house.md"])]


RANKS = {lock: rank for rank, lock in TABLE}


def made_in(source: str, file: str) -> Iterator[Lock]:
    """The locks that a file makes; a lock is kept by the name that its line begins with."""
    lines = source.splitlines()
    tree = ast.parse(source)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and _name_of(node.func) in KINDS):
            continue
        owner = next((each.name for each in classes if each in _around(tree, node)), "")
        yield Lock(owner, _kept_as(lines[node.lineno - 1]), file)


def _kept_as(line: str) -> str:
    kept = re.search(r"self\.(\w+)|^\s*(\w+)\s*[:=]", line)
    return (kept[1] or kept[2]) if kept else line


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _around(tree: ast.Module, inner: ast.AST) -> list[ast.AST]:
    return [node for node in ast.walk(tree) if any(each is inner for each in ast.walk(node))]


def test_every_lock_of_the_package_has_its_place_and_none_is_named_that_is_gone() -> None:
    made = {
        lock
        for path in PACKAGE.rglob("*.py")
        for lock in made_in(path.read_text(), str(path.relative_to(PACKAGE)))
    }
    assert made == {lock for _, lock in TABLE}


def test_the_table_reads_from_the_outermost_in() -> None:
    ranks = [rank for rank, _ in TABLE]
    assert ranks == sorted(ranks)
    assert ranks[:1] == [1]


@pytest.mark.parametrize(
    ("source", "lock"),
    [
        ("class A:\n    def __init__(self):\n        self._lock = asyncio.Lock()", ("A", "_lock")),
        ("class A:\n    def f(self):\n        with self._of.setdefault(1, Lock()): ...", ("A", "_of")),
        ("_sharing = threading.RLock()", ("", "_sharing")),
        ("class A: ...\nrooms: Semaphore = asyncio.Semaphore(3)", ("", "rooms")),
    ],
)
def test_a_lock_is_found_where_it_is_made(source: str, lock: tuple[str, str]) -> None:
    assert list(made_in(source, "a.py")) == [Lock(*lock, "a.py")]


taken_under = set[tuple[Lock, Lock]]()
_held: defaultdict[Any, list[Lock]] = defaultdict(list)


class Watched(asyncio.Lock):
    """A lock that knows its place in the table, and notes under which others it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        maker = sys._getframe(1)
        owner = type(maker.f_locals["self"]).__name__
        source = Path(maker.f_code.co_filename)
        line = source.read_text().splitlines()[maker.f_lineno - 1]
        self.lock = Lock(owner, _kept_as(line), str(source.relative_to(PACKAGE)))

    async def acquire(self) -> Literal[True]:
        held = _held[asyncio.current_task()]
        taken_under.update((outer, self.lock) for outer in held)
        await super().acquire()
        held.append(self.lock)
        return True

    def release(self) -> None:
        _held[asyncio.current_task()].remove(self.lock)
        super().release()


async def test_locks_are_taken_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "Lock", Watched)
    bus, got = memory_bus(), list[Any]()

    async def handle(message: Any) -> None:
        got.append(message)

    bus.subscriber("placed")(handle)
    async with bus.test() as t:
        await bus.subscribe("placed", handle, id="the same topic")
        await bus.subscribe("voided", handle, id="a topic more")
        await bus.subscribe("placed", handle, id="a group more", group="audit")
        await bus.publish_many("placed", [{"bet": n} for n in range(3)])
        await t.settle()
        assert await bus.unsubscribe("a topic more")
        assert await bus.unsubscribe("a group more")

    assert len(got) == 9
    asked = {(outer.name, inner.name) for outer, inner in taken_under}
    assert {("_turns", "_changes"), ("_changes", "_one_end_at_a_time")} <= asked
    assert ("_one_end_at_a_time", "_one_at_a_time") in asked
    assert not [(outer, inner) for outer, inner in taken_under if RANKS[outer] >= RANKS[inner]]
