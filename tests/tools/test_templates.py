"""The forms that an outsider meets can be filled in, and ask for nothing that is not there."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.tools.test_makefile import HELP, ROOT

GITHUB = ROOT / ".github"
FORMS: dict[str, dict[str, Any]] = {
    path.name: yaml.safe_load(path.read_text())
    for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
    if path.name != "config.yml"
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_says_what_it_is_for_and_asks_for_each_thing_once(name: str) -> None:
    form = FORMS[name]
    assert form["name"]
    assert form["description"]
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(part["attributes"]["label"] for part in asked)
    assert len({part["id"] for part in asked}) == len(asked)
    assert any(part["validations"]["required"] for part in asked if "validations" in part)


def test_there_is_a_form_for_a_fault_and_one_for_a_wish() -> None:
    assert {form["labels"][0] for form in FORMS.values()} == {"bug", "idea"}


def test_what_a_pull_request_is_asked_to_run_exists() -> None:
    text = (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text()
    made = {word for words in re.findall(r"`make ([^`]+)`", text) for word in shlex.split(words)}
    assert {word for word in made if "=" not in word} == {"lint", "unit", "test"}
    assert made - set(HELP) == {"REQUIRE_KAFKA=1"}
    for module in re.findall(r"`python -m ([\w.]+)`", text):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()
