"""All pages: what they link to is there, and each command is one that there is."""

from __future__ import annotations

import posixpath
import re
import shlex

import pytest

from convex_messaging_fastapi.cli.tree import NAME
from tests.docs.commands import understood
from tests.readme.reading import PAGES, blocks, headings, prose
from tests.support.services import ROOT

LONGEST_README = 200


def commands(page: str) -> list[str]:
    """In blocks and in sentences, without what a shell would make of it."""
    lines = [
        line.removeprefix("$ ").partition("  #")[0].strip()
        for block in blocks(page)
        if block.language in ("sh", "console")
        for line in block.text.splitlines()
    ]
    found = [*lines, *re.findall(rf"`({NAME} [^`]+)`", prose(page))]
    found += [line.partition(" -- ")[2] for line in lines if line.startswith("kubectl exec")]
    return [line.partition(" > ")[0] for line in found if line.startswith(f"{NAME} ")]


COMMANDS = sorted({line for page in PAGES.values() for line in commands(page)})


def test_each_command_is_understood() -> None:
    assert len(COMMANDS) > 40
    for line in COMMANDS:
        _, *words = shlex.split(line.replace("COMMAND --help", "doctor").replace("COMMAND", "doctor"))
        understood(words)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("lagg", "No such command"),
        ("dead-letters replay --sped 9", "No such option"),
        ("dead-letters list --by size", "is not one of"),
        ("topics show", "Missing parameter|Missing argument"),
        ("tail orders --from", "requires an argument"),
    ],
)
def test_one_that_is_not_is_found(words: str, why: str) -> None:
    with pytest.raises(Exception, match=why):
        understood(shlex.split(words))


@pytest.mark.parametrize("name", PAGES)
def test_all_that_is_linked_is_there(name: str) -> None:
    folder = "" if name == "README.md" else "docs"
    for link in re.findall(r"\]\((?!http)([^)\s]+)\)", prose(PAGES[name])):
        target, _, anchor = link.partition("#")
        path = posixpath.normpath(posixpath.join(folder, target)) if target else posixpath.join(folder, name)
        assert (ROOT / path).exists(), link
        page = posixpath.basename(path)
        if anchor and page in PAGES:
            assert anchor in headings(page), link


def test_each_page_has_a_name_of_its_own() -> None:
    titles = [re.findall(r"^# (.+)$", prose(text), re.MULTILINE) for text in PAGES.values()]
    assert [len(found) for found in titles] == [1] * len(PAGES)
    assert len({found[0] for found in titles}) == len(PAGES)


def test_the_front_page_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) < LONGEST_README
