"""Rows as a table: plain columns through a pipe, Rich's on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

GAP = "  "


def plain_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, with nothing cut: the next program wants all of it."""
    lines = [columns, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    return [
        GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def write_on_terminal(stream: TextIO, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """As wide as the terminal; a cell that does not fit goes on in the next line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as text, or a cell could be markup
    Console(file=stream, highlight=False).print(table)
