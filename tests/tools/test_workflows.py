"""The public CI runs what the Makefile has, on the Pythons that the package names, with the least rights."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.tools.test_makefile import HELP, ROOT
from tools.docs.__main__ import SITE

WORKFLOWS = {path.name: path.read_text() for path in sorted((ROOT / ".github/workflows").glob("*.y*ml"))}
PARSED: dict[str, dict[Any, Any]] = {name: yaml.safe_load(text) for name, text in WORKFLOWS.items()}
JOBS: dict[str, dict[str, Any]] = {
    f"{name} {job}": found for name, parsed in PARSED.items() for job, found in parsed["jobs"].items()
}
CLASSIFIERS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
PYTHONS = [name.rpartition(" ")[2] for name in CLASSIFIERS if re.search(r":: 3\.\d+$", name)]
ON_OUR_MACHINES = {
    "help",
    "run",
    "demo",
    "screenshots",
    "kafka",
    "postgres",
    "bench",
    "format",
    "clean",
    "reliability",
}
"""Targets that no lane runs: they serve somebody, measure, or write."""

LANES = {
    "ci.yml lint": {"lint"},
    "ci.yml unit": {"unit"},
    "ci.yml lowest": {"test-lowest"},
    "ci.yml build": {"build", "types"},
    "ci.yml kafka": {"test", "browser"},
    "docs.yml build": {"docs"},
    "docs.yml deploy": set[str](),
    "nightly.yml faults": {"test-faults"},
    "nightly.yml half-hour": {"test-long"},
    "nightly.yml aiokafka-main": {"test-aiokafka"},
    "nightly.yml versions": {"test-versions"},
    "nightly.yml servers": {"test-servers"},
    "release.yml check": {"lint", "test"},
    "release.yml build": {"build"},
    "release.yml publish": set[str](),
}


def commands(job: dict[str, Any]) -> Iterator[list[str]]:
    for step in job["steps"]:
        yield from (shlex.split(line) for line in step.get("run", "").splitlines())


def targets(job: dict[str, Any]) -> set[str]:
    return {word for words in commands(job) for word in words[1:] if "=" not in word}


def triggers(workflow: str) -> dict[str, Any]:
    """YAML takes the key `on` for a boolean."""
    found: dict[str, Any] = PARSED[workflow][True]
    return found


def test_every_lane_makes_what_the_table_says() -> None:
    assert {name: targets(job) for name, job in JOBS.items()} == LANES


def test_what_is_run_is_make_and_its_targets_exist() -> None:
    asked = [words for job in JOBS.values() for words in commands(job)]
    assert {words[0] for words in asked} == {"make"}
    assert set().union(*LANES.values()) <= set(HELP)


def test_every_check_that_the_makefile_has_is_run_by_a_lane() -> None:
    assert set(HELP) - set().union(*LANES.values()) == ON_OUR_MACHINES


def test_each_workflow_is_started_by_what_it_is_for() -> None:
    assert triggers("ci.yml") == {"push": {"branches": ["main"]}, "pull_request": None}
    assert JOBS["ci.yml kafka"]["if"] == "github.event_name == 'pull_request'"
    assert set(triggers("nightly.yml")) == {"schedule", "workflow_dispatch"}
    assert triggers("release.yml") == {"push": {"tags": ["v*"]}}


def test_the_unit_tests_run_on_every_python_that_the_package_names_and_the_rest_on_some_of_them() -> None:
    asked = {step["with"]["python-version"] for job in JOBS.values() for step in uses(job, "setup-python")}
    assert JOBS["ci.yml unit"]["strategy"]["matrix"]["python"] == PYTHONS
    assert asked - {"${{ matrix.python }}"} <= set(PYTHONS)


@pytest.mark.parametrize(
    "name",
    [name for name, made in LANES.items() if made & {"test", "test-faults", "test-long", "test-servers"}],
)
def test_a_lane_that_is_to_find_a_kafka_fails_without_one(name: str) -> None:
    for words in commands(JOBS[name]):
        assert ("REQUIRE_KAFKA=1" in words) == (words[1] not in ("lint", "build", "types"))


def test_a_release_publishes_what_was_checked_and_only_that_job_may_prove_who_it_is() -> None:
    publish = JOBS["release.yml publish"]
    assert publish["needs"] == ["check", "build"]
    assert ["make", "build", "TAG=$GITHUB_REF_NAME"] in list(commands(JOBS["release.yml build"]))
    assert "password" not in WORKFLOWS["release.yml"].replace("no password", "")
    assert "secrets." not in "".join(WORKFLOWS.values())
    asked = {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job}
    assert asked == {
        "release.yml publish": {"id-token": "write"},
        "docs.yml deploy": {"pages": "write", "id-token": "write"},
    }


def test_the_documentation_is_built_for_every_change_and_published_from_main_alone() -> None:
    assert triggers("docs.yml") == triggers("ci.yml")
    assert JOBS["docs.yml deploy"]["if"] == "github.event_name == 'push'"
    assert JOBS["docs.yml deploy"]["needs"] == ["build"]
    (uploaded,) = uses(JOBS["docs.yml build"], "upload-pages-artifact")
    assert uploaded["with"]["path"] == str(SITE.relative_to(ROOT))


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_workflow_may_read_and_no_more(workflow: str) -> None:
    assert PARSED[workflow]["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_ends_by_itself_and_runs_no_code_that_may_change_under_it(name: str) -> None:
    job = JOBS[name]
    assert job["timeout-minutes"] <= 150
    assert all("${{" not in step.get("run", "") for step in job["steps"]), "text from outside is no command"
    assert all(step["with"]["persist-credentials"] is False for step in uses(job, "checkout"))
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]) for step in uses(job))


def test_one_action_is_used_in_one_version_which_is_told_beside_it() -> None:
    told = set(re.findall(r"uses: (\S+)@\S+ # (v[\d.]+)$", "\n".join(WORKFLOWS.values()), re.MULTILINE))
    used = {step["uses"] for job in JOBS.values() for step in uses(job)}
    assert len(told) == len(used) == len({action.partition("@")[0] for action in used})


def uses(job: dict[str, Any], action: str = "") -> Iterator[dict[str, Any]]:
    yield from (step for step in job["steps"] if f"/{action}" in step.get("uses", ""))
