"""The pages of the site: found, given their places, and their links turned to what the site has.

What is written stays readable where it lies: a page links to files of the repository. On the site
the pages at the repository's top stand beside those of `docs/`, and `README.md` is the first.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

HOME = "README.md"
AT_THE_TOP = (HOME, "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "RELIABILITY.md", "SECURITY.md")
NOWHERE = "More"

_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]\[]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE)
_CODE_WITH_BARS = re.compile(r"`[^`\n]*\\\|[^`\n]*`")
_SENTENCE_ENDS = re.compile(r"(?<=[.!?:])\s")


class LinkError(Exception):
    """A page links to a file that is not there."""


def collected(root: Path) -> dict[str, str]:
    """Name and text of each page that somebody wrote."""
    files = [root / name for name in AT_THE_TOP] + sorted((root / "docs").glob("*.md"))
    return {file.name: file.read_text() for file in files}


def placed(nav: Sequence[Mapping[str, Sequence[str]]], names: Iterable[str]) -> dict[str, list[str]]:
    """The pages of each section: every page once, where its name is meant first."""
    left, sections = sorted(names), dict[str, list[str]]()
    for section in nav:
        for title, patterns in section.items():
            meant = [name for pattern in patterns for name in left if fnmatchcase(name, pattern)]
            sections[title] = list(dict.fromkeys(meant))
            left = [name for name in left if name not in meant]
    return {title: names for title, names in [*sections.items(), (NOWHERE, left)] if names}


def heading(text: str) -> str:
    """The first of a page, which is its name."""
    found = re.search(r"^# +(.+)$", text, re.MULTILINE)
    return found[1].replace("`", "") if found else ""


def summary(text: str) -> str:
    """The first sentence below the first heading."""
    paragraphs = _FENCE.sub("", text).partition("# ")[2].split("\n\n")[1:]
    told = (" ".join(part.split()) for part in paragraphs if part.strip()[:1] not in ("", *"#|<!*->"))
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", next(told, ""))
    return _SENTENCE_ENDS.split(plain, maxsplit=1)[0].rstrip(":")


def turned(name: str, text: str, names: Iterable[str], root: Path, repository: str) -> str:
    """With its links as the site has them. Raises `LinkError` for one that leads to no file."""
    known = {name if name in AT_THE_TOP else f"docs/{name}" for name in names}
    folder = "" if name in AT_THE_TOP else "docs"

    def turn(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in known:
            return f"[{words}]({on_site(posixpath.basename(path))}{anchor})"
        if not (root / path).exists():
            raise LinkError(f"{name} links to {target}, which is not there")
        if path.startswith("docs/"):
            return f"[{words}]({path.removeprefix('docs/')})"
        return f"[{words}]({repository}/blob/HEAD/{path}{anchor})" if repository else f"{words} (`{path}`)"

    parts = _FENCE.split(_COMMENT.sub("", text))
    return "".join(part if _FENCE.fullmatch(part) else _plain_bars(_LINK.sub(turn, part)) for part in parts)


def _plain_bars(text: str) -> str:
    """In the code of a table's cell a bar has a backslash for GitHub, which the generator would show."""
    return _CODE_WITH_BARS.sub(lambda found: found[0].replace(r"\|", "|"), text)


def on_site(name: str) -> str:
    return "index.md" if name == HOME else name
