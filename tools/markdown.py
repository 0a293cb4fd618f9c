"""What generated pages are made of: tables, and the part of a page between two marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    return "\n".join(map(row, (head, ["---"] * len(head), *rows)))


def between(page: str, begin: str, end: str, text: str) -> str:
    """`page` with `text` between the marks, in place of what was there."""
    before, rest = page.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{text}\n{end}{after}"
