"""Writes HTML in which every text is escaped, unless it is HTML already."""

from __future__ import annotations

import html


class Html(str):
    """Text that is HTML."""

    __slots__ = ()


def element(name: str, *inside: str | Html | None, **attributes: str) -> Html:
    """`class_="x"` is the attribute `class`; `None` inside is nothing."""
    said = "".join(
        f' {each.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for each, value in attributes.items()
    )
    return Html(f"<{name}{said}>{joined(*inside)}</{name}>")


def joined(*inside: str | Html | None) -> Html:
    return Html("".join(each if isinstance(each, Html) else html.escape(each) for each in inside if each))
