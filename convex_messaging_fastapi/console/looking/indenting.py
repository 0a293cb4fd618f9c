"""JSON in lines, with every number and every text as it was written: it is read by nobody, only broken up."""

from __future__ import annotations

import re

_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[{\[]\s*[}\]]|[{}\[\],:]|[^\s{}\[\],:"]+')
_MOST_LEVELS = 40
"""Deeper parts are no further to the right: they would leave the page."""


def indented(text: str) -> str:
    """`text` has to be JSON."""
    written, level = list[str](), 0
    for part in _PART.findall(text):
        if part in ("{", "["):
            level += 1
            written += (part, _line(level))
        elif part in ("}", "]"):
            level -= 1
            written += (_line(level), part)
        elif part == ",":
            written += (part, _line(level))
        else:
            written.append(": " if part == ":" else part)
    return "".join(written)


def _line(level: int) -> str:
    return "\n" + "  " * min(level, _MOST_LEVELS)
