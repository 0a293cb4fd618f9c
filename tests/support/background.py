"""Something that looks at a test's processes from a thread of its own, until the test is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Watcher(Protocol):
    def run(self) -> None: ...

    def end(self) -> None: ...


W = TypeVar("W", bound=Watcher)


@contextmanager
def at_work(watcher: W, name: str) -> Iterator[W]:
    thread = threading.Thread(target=watcher.run, name=name, daemon=True)
    thread.start()
    try:
        yield watcher
    finally:
        watcher.end()
        thread.join(15)
