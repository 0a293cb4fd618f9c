"""Tables through pipes and on terminals; progress for who watches."""

from __future__ import annotations

import io

import pytest

from convex_messaging_fastapi.cli.output import Output

COLUMNS = ("TOPIC", "PARTITIONS")
ROWS = [("orders", 12), ("a\x1b[31m[red]topic", 1)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_through_a_pipe_is_plain_columns() -> None:
    data = io.StringIO()
    Output(as_json=False, data=data).table(COLUMNS, ROWS)
    assert data.getvalue() == (
        "TOPIC                PARTITIONS\norders               12\na\\x1b[31m[red]topic  1\n"
    )


def test_a_table_without_rows_is_its_heading() -> None:
    data = io.StringIO()
    Output(as_json=False, data=data).table(COLUMNS, [])
    assert data.getvalue() == "TOPIC  PARTITIONS\n"


def test_a_table_on_a_terminal_obeys_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    data = Terminal()
    Output(as_json=False, data=data).table(COLUMNS, ROWS)
    heading, *rows = data.getvalue().splitlines()
    assert "\x1b[1m" in heading
    assert "\x1b" not in "".join(rows)
    assert rows[1].split() == ["a\\x1b[31m[red]topic", "1"]


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    data = Terminal()
    Output(as_json=False, data=data).table(COLUMNS, ROWS)
    assert "\x1b[3" not in data.getvalue()


def test_progress_is_one_line_that_is_written_over_and_ends_before_the_next_word() -> None:
    words = Terminal()
    out = Output(as_json=False, data=io.StringIO(), words=words)
    out.progress("1,200 of 5,000")
    out.progress("done")
    out.say("it is done")
    assert words.getvalue() == "\r1,200 of 5,000\rdone          \nit is done\n"


def test_nobody_who_reads_a_pipe_is_told_of_progress() -> None:
    words = io.StringIO()
    Output(as_json=False, data=io.StringIO(), words=words).progress("1 of 2")
    assert words.getvalue() == ""
