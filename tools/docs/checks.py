"""What is wrong with a built site: links to nowhere, text that is not drawn, what is fetched elsewhere."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_NOT_DRAWN = re.compile(r"\n(?:[*-] |\d\. |\| |```)|^\| ")
_FETCHING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
_ONLY_NAMED = {"canonical", "next", "prev", "alternate"}


class Page(HTMLParser):
    """One page as a browser sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.links, self.fetched, self.paragraphs = (
            set[str](),
            list[str](),
            list[str](),
            list[str](),
        )
        self._in_paragraph = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if (name := _FETCHING.get(tag)) in given and given.get("rel") not in _ONLY_NAMED:
            self.fetched.append(given[name])
        if tag == "p":
            self._in_paragraph = True
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self._in_paragraph = False

    def handle_data(self, data: str) -> None:
        if self._in_paragraph:
            self.paragraphs[-1] += data


def problems(site: Path) -> Iterator[str]:
    """One sentence each, for every page of the folder."""
    pages = {str(path.relative_to(site)): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for name, page in pages.items():
        for link in page.links:
            yield from _link(name, link, pages, site)
        yield from (f"{name}: fetches {url}" for url in page.fetched if urlsplit(url).netloc)
        yield from (
            f"{name}: is not drawn: {text.strip()[:60]!r}"
            for text in page.paragraphs
            if _NOT_DRAWN.search(text)
        )


def _link(name: str, link: str, pages: dict[str, Page], site: Path) -> Iterator[str]:
    url = urlsplit(link)
    if url.scheme or url.netloc or name == "404.html":
        return
    target = (
        posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(url.path))) if url.path else name
    )
    if target not in pages:
        if not (site / target).exists():
            yield f"{name}: {link} leads to no page"
    elif url.fragment and unquote(url.fragment) not in pages[target].anchors:
        yield f"{name}: {link} leads to no heading"
