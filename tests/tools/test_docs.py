"""What `make docs` does around its generator: places, links, references, and what it finds wrong."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import yaml

import convex_messaging_fastapi
from tools.docs import checks, commands, llms, python
from tools.docs.pages import NOWHERE, LinkError, collected, placed, summary, turned

ROOT = Path(__file__).parents[2]
NAMES = ("README.md", "SECURITY.md", "handlers.md", "health.md", "site.md")
ELSEWHERE = "https://example.org/repository"


@pytest.mark.parametrize(
    ("page", "link", "on_site"),
    [
        ("README.md", "[a](docs/health.md#health)", "[a](health.md#health)"),
        ("README.md", "[a](SECURITY.md)", "[a](SECURITY.md)"),
        ("README.md", "[a](example_app)", f"[a]({ELSEWHERE}/blob/HEAD/example_app)"),
        ("health.md", "[a](handlers.md)", "[a](handlers.md)"),
        ("health.md", "[a](../README.md#two-commands)", "[a](index.md#two-commands)"),
        ("health.md", "[a](../SECURITY.md)", "[a](SECURITY.md)"),
        ("health.md", "[a](#health)", "[a](#health)"),
        ("health.md", "[a](https://example.org/a.md)", "[a](https://example.org/a.md)"),
        ("health.md", "```sh\n[a](../example_app)\n```", "```sh\n[a](../example_app)\n```"),
        ("health.md", r"| `a \| b` | c \| d |", r"| `a | b` | c \| d |"),
        ("health.md", "a\n<!-- begin -->\n| b |", "a\n| b |"),
    ],
)
def test_a_link_leads_to_what_the_site_has(page: str, link: str, on_site: str) -> None:
    assert turned(page, link, NAMES, ROOT, ELSEWHERE) == on_site


def test_without_a_repository_its_files_are_told_by_name() -> None:
    assert turned("health.md", "[app](../example_app)", NAMES, ROOT, "") == "app (`example_app`)"


def test_a_link_to_nothing_is_refused() -> None:
    with pytest.raises(LinkError, match=r"health\.md links to gone\.md"):
        turned("health.md", "[a](gone.md)", NAMES, ROOT, "")


def test_a_page_comes_where_it_is_meant_first_and_the_others_under_more() -> None:
    nav = [{"One": ["b.md", "a*.md"]}, {"None": ["outbox*.md"]}, {"Two": ["*.md"]}]
    all_placed = {"One": ["b.md", "a1.md", "a2.md"], "Two": ["c.md"]}
    assert placed(nav, ["a1.md", "a2.md", "b.md", "c.md"]) == all_placed
    assert placed(nav[:2], ["c.md", "outbox.md"]) == {"None": ["outbox.md"], "More": ["c.md"]}


def test_each_page_has_its_place_on_the_site_and_each_place_its_page() -> None:
    nav = yaml.safe_load((ROOT / "docs" / "site.yml").read_text())["nav"]
    pages = {*collected(ROOT), *python.MODULES, "commands.md"}
    assert "a-page-to-come.md" in placed(nav, [*pages, "a-page-to-come.md"])[NOWHERE]
    patterns = {pattern for section in nav for names in section.values() for pattern in names}
    assert {pattern for pattern in patterns if "*" not in pattern} <= pages


def test_a_page_is_told_by_its_first_sentence() -> None:
    text = "# A\n\n```sh\nb\n```\n\n| c |\n|---|\n\nOne [link](d.md) of\ntwo lines. And more.\n"
    assert summary(text) == "One link of two lines."
    assert [name for name, page in collected(ROOT).items() if not summary(page)] == []


def test_a_list_of_pages_for_models_has_each_under_its_section() -> None:
    pages = {"README.md": "# Home\n\nIt is. Yes.", "b.md": "# B\n\nFirst: then."}
    told = llms.index({"Start": ["README.md"], "More": ["b.md"]}, pages, "x", "what it is")
    assert told == (
        "# x\n\n> what it is\n\n## Start\n\n- [Home](index.md): It is.\n\n## More\n\n- [B](b.md): First\n"
    )
    assert llms.whole({"Start": ["README.md", "b.md"]}, pages).count("\n# ") == 1


def test_what_is_wrong_in_a_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<h1 id="there">B</h1><p>fine</p>')
    good = '<a href="b.html#there">b</a><a href="https://example.org">c</a><link rel="canonical" href="http://d">'
    (tmp_path / "a.html").write_text(good)
    assert list(checks.problems(tmp_path)) == []
    bad = (
        '<a href="b.html#gone">1</a><a href="gone.html">2</a><script src="https://cdn.example/x.js"></script>'
        "<p>A list:\n* one</p><p>A table:\n| a |</p><p>a * b</p>"
    )
    (tmp_path / "a.html").write_text(bad)
    found = [each.partition(": ")[2] for each in checks.problems(tmp_path)]
    assert found == [
        "b.html#gone leads to no heading",
        "gone.html leads to no page",
        "fetches https://cdn.example/x.js",
        "is not drawn: 'A list:\\n* one'",
        "is not drawn: 'A table:\\n| a |'",
    ]


def test_the_reference_of_python_has_every_public_name() -> None:
    pages = dict(python.pages())
    lines = pages["python.md"].splitlines()
    assert [name for name in convex_messaging_fastapi.__all__ if f"## {name}" not in lines] == []
    assert "### MessageBus.publish" in lines
    assert "### MessageBus.subscriber" in lines, "a verb of a hidden base class is the bus's own"
    assert "* `concurrency`: How many messages this handler may have at work at once." in pages["python.md"]
    for file, (module, _) in python.MODULES.items():
        assert python.names_of(import_module(module)), file


def test_the_reference_of_the_command_line_has_every_command() -> None:
    ((file, text),) = commands.pages()
    told = [line.removeprefix("## convex-messaging ") for line in text.splitlines() if line.startswith("## ")]
    assert file == "commands.md"
    assert {"doctor", "tail", "topics create", "dead-letters replay", "pause"} <= set(told)
    assert text.count("Usage: convex-messaging ") == len(told)
