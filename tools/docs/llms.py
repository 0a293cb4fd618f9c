"""`llms.txt`, which tells a language model what there is, and `llms-full.txt`, which is all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.docs.pages import heading, on_site, summary


def index(sections: Mapping[str, Sequence[str]], pages: Mapping[str, str], name: str, says: str) -> str:
    """By section a line a page: its name, where its Markdown is, and its first sentence."""
    parts = [f"# {name}", f"> {says}"]
    for title, names in sections.items():
        lines = (f"- [{heading(pages[each])}]({on_site(each)}): {summary(pages[each])}" for each in names)
        parts += [f"## {title}", "\n".join(line.removesuffix(": ") for line in lines)]
    return "\n\n".join(parts) + "\n"


def whole(sections: Mapping[str, Sequence[str]], pages: Mapping[str, str]) -> str:
    """Every page, one after the other."""
    return "\n\n".join(pages[each].strip() for names in sections.values() for each in names) + "\n"
