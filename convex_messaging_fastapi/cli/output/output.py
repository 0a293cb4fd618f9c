"""Where a command's words go: data to stdout, all else to stderr, progress only where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from convex_messaging_fastapi.cli.output.escaping import json_text, safe
from convex_messaging_fastapi.cli.output.tables import plain_lines, write_on_terminal


class Output:
    """Of one command. Every text is made safe for a terminal here, whoever wrote it."""

    def __init__(self, *, as_json: bool, data: TextIO | None = None, words: TextIO | None = None) -> None:
        self.as_json = as_json
        self._data = data or sys.stdout
        self._words = words or sys.stderr
        self._progress = ""

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """For people; `columns` in capitals. Nothing but the heading where there are no rows."""
        cells = [[safe(str(cell)) for cell in row] for row in rows]
        self._end_progress()
        if self._data.isatty():
            write_on_terminal(self._data, columns, cells)
        else:
            self._data.write("\n".join(plain_lines(columns, cells)) + "\n")

    def line(self, text: str) -> None:
        """One line of data."""
        self._end_progress()
        self._data.write(f"{safe(text)}\n")

    def json(self, value: Any) -> None:
        """One document, laid out for reading."""
        self._data.write(f"{json_text(value, indent=2)}\n")

    def json_line(self, value: Mapping[str, Any]) -> None:
        """One line of JSON Lines."""
        self._data.write(f"{json_text(value)}\n")

    def raw(self, value: bytes) -> None:
        """Bytes as they are, which somebody asked for by name."""
        self._data.flush()
        self._data.buffer.write(value)
        self._data.buffer.flush()

    def say(self, sentence: str) -> None:
        """To the person at the terminal, beside the data."""
        self._end_progress()
        self._words.write(f"{safe(sentence)}\n")
        self._words.flush()

    def progress(self, text: str) -> None:
        """How far it is: one line that is written over, on a terminal alone."""
        if self._words.isatty():
            blank = " " * max(0, len(self._progress) - len(text))
            self._words.write(f"\r{safe(text)}{blank}")
            self._words.flush()
            self._progress = text

    def flush(self) -> None:
        self._end_progress()
        self._data.flush()

    def _end_progress(self) -> None:
        if self._progress:
            self._words.write("\n")
            self._words.flush()
            self._progress = ""
