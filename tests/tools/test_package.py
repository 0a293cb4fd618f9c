"""A package that lacks something, or holds too much, or is of two versions, is not released."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from convex_messaging_fastapi import __version__
from tests.support.services import clean_environment
from tools.package import BESIDE, INFO, NAME, ROOT, SDIST, WHEEL, package_files, problems, unfit_for_release

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()
METADATA = f"Metadata-Version: 2.4\nName: x\nVersion: {__version__}\nLicense-Expression: MIT\n\n{README}"
CHANGELOG = (
    f"# Changelog\n\n## [Unreleased]\n\n## [{__version__}] - 2026-01-31\n\n### Added\n\n- All of it.\n"
)

Files = dict[str, str]


@pytest.fixture
def in_wheel() -> Files:
    info = {f"{INFO}/{name}": "" for name in ("RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    return dict.fromkeys(package_files(), "") | info | {f"{INFO}/METADATA": METADATA}


@pytest.fixture
def in_sdist(in_wheel: Files) -> Files:
    ours = {name: "" for name in in_wheel if not name.startswith(INFO)}
    return ours | dict.fromkeys(BESIDE, "")


def write(dist: Path, in_wheel: Files, in_sdist: Files) -> None:
    with zipfile.ZipFile(dist / WHEEL, "w") as wheel:
        for name, text in in_wheel.items():
            wheel.writestr(name, text)
    with tarfile.open(dist / SDIST, "w:gz") as sdist:
        for name, text in in_sdist.items():
            member = tarfile.TarInfo(f"{SDIST.removesuffix('.tar.gz')}/{name}")
            member.size = len(text.encode())
            sdist.addfile(member, BytesIO(text.encode()))


def test_what_is_whole_is_found_so(tmp_path: Path, in_wheel: Files, in_sdist: Files) -> None:
    write(tmp_path, in_wheel, in_sdist)
    assert list(problems(tmp_path)) == []


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda wheel, sdist: wheel.pop(f"{NAME}/py.typed"), f"{WHEEL} lacks {NAME}/py.typed"),
        (lambda wheel, sdist: wheel.pop(f"{NAME}/bus.py"), f"{WHEEL} lacks {NAME}/bus.py"),
        (
            lambda wheel, sdist: wheel.pop(f"{INFO}/licenses/LICENSE"),
            f"{WHEEL} lacks {INFO}/licenses/LICENSE",
        ),
        (lambda wheel, sdist: wheel.update({"tests/x.py": ""}), f"{WHEEL} must not hold tests/x.py"),
        (lambda wheel, sdist: sdist.pop("CHANGELOG.md"), f"{SDIST} lacks CHANGELOG.md"),
        (lambda wheel, sdist: sdist.update({".env": "secret"}), f"{SDIST} must not hold .env"),
        (
            lambda wheel, sdist: wheel.update({f"{INFO}/METADATA": METADATA.replace(__version__, "9", 1)}),
            f"{WHEEL} says that its version is 9",
        ),
        (
            lambda wheel, sdist: wheel.update({f"{INFO}/METADATA": METADATA.replace("MIT\n", "\n", 1)}),
            f"{WHEEL} names no licence",
        ),
        (
            lambda wheel, sdist: wheel.update({f"{INFO}/METADATA": METADATA[:400]}),
            f"{WHEEL} is not described by README.md",
        ),
    ],
)
def test_what_is_wrong_with_an_archive_is_told(
    spoil: Callable[[Files, Files], object], told: str, tmp_path: Path, in_wheel: Files, in_sdist: Files
) -> None:
    spoil(in_wheel, in_sdist)
    write(tmp_path, in_wheel, in_sdist)
    assert list(problems(tmp_path)) == [told]


def test_an_archive_that_was_not_built_is_told_and_so_is_one_of_another_version(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}-9.9.9.tar.gz").touch()
    lacks, surplus = problems(tmp_path)
    assert WHEEL in lacks
    assert SDIST in lacks
    assert f"{NAME}-9.9.9.tar.gz" in surplus


@pytest.mark.parametrize(
    ("tag", "changelog", "told"),
    [
        (f"v{__version__}", CHANGELOG, ""),
        (__version__, CHANGELOG, f"the tag {__version__} is not v{__version__}"),
        ("v9.9.9", CHANGELOG, f"the tag v9.9.9 is not v{__version__}"),
        (f"v{__version__}", CHANGELOG.replace(" - 2026-01-31", ""), "CHANGELOG.md has no heading"),
        (f"v{__version__}", CHANGELOG.replace("\n## [Un", "\n- x\n\n## [Un"), ""),
        (
            f"v{__version__}",
            CHANGELOG.replace("sed]\n", "sed]\n\n- More.\n"),
            "still has something",
        ),
    ],
)
def test_a_release_is_tagged_with_its_version_and_told_of(tag: str, changelog: str, told: str) -> None:
    found = list(unfit_for_release(tag, changelog))
    assert len(found) == bool(told)
    assert told in "".join(found)


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    source = (ROOT / PROJECT["tool"]["hatch"]["version"]["path"]).read_text()
    assert re.findall(r'^__version__ = "(\d+\.\d+\.\d+)"$', source, re.MULTILINE) == [__version__]


def test_what_is_mended_is_the_newest_minor_version() -> None:
    newest = __version__.rpartition(".")[0]
    assert f"the newest minor version (today {newest})" in (ROOT / "SECURITY.md").read_text()


HEADING = re.compile(r"^## \[(.+?)\](.*)$", re.MULTILINE)


def test_the_changelog_begins_with_what_is_not_released_and_goes_back_by_version() -> None:
    (unreleased, nothing), *released = HEADING.findall((ROOT / "CHANGELOG.md").read_text())
    assert (unreleased, nothing) == ("Unreleased", "")
    assert [day for _, day in released if not re.fullmatch(r" - \d{4}-\d\d-\d\d", day)] == []
    versions = [in_order(version) for version, _ in released]
    assert versions == sorted(set(versions), reverse=True)
    assert max(versions, default=(0,)) <= in_order(__version__)


def in_order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_the_changelog_has_the_sections_of_its_form() -> None:
    found = re.findall(r"^### (\w+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert set(found) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.faults  # it takes long: packages are fetched
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_build_builds_what_can_be_installed() -> None:
    made = subprocess.run(
        ["make", "build"],
        cwd=ROOT,
        # started by a make, this one would tell of the folders that it enters and leaves
        env=clean_environment() | {"MAKEFLAGS": "--no-print-directory"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    whole, installed = made.stdout.splitlines()[-2:]
    assert whole == f"{WHEEL} and {SDIST} are whole"
    assert "/build/fresh/" in installed
    assert __version__ in installed
