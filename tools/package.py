"""Looks through what `make build` built: both archives are whole, hold nothing else, and are of one version.

python -m tools.package build/dist [v1.2.3]

With the tag of a release, that version is also the package's own, and the changelog tells of it.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Set
from email.parser import Parser
from pathlib import Path

from convex_messaging_fastapi import __version__

ROOT = Path(__file__).parents[1]
NAME = "convex_messaging_fastapi"
WHEEL = f"{NAME}-{__version__}-py3-none-any.whl"
SDIST = f"{NAME}-{__version__}.tar.gz"

BESIDE = {"CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
INFO = f"{NAME}-{__version__}.dist-info"
_INSIDE_INFO = {
    f"{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
}


def problems(dist: Path, tag: str | None = None) -> Iterator[str]:
    """A sentence about each thing that is not as it should be."""
    yield from _unlike(dist.name, {path.name for path in dist.iterdir()} - {".gitignore"}, {WHEEL, SDIST})
    if (wheel := dist / WHEEL).is_file():
        yield from _unlike(WHEEL, in_wheel(wheel), package_files() | _INSIDE_INFO)
        yield from _ill_described(wheel)
    if (sdist := dist / SDIST).is_file():
        yield from _unlike(SDIST, in_sdist(sdist), package_files() | BESIDE)
    if tag is not None:
        yield from unfit_for_release(tag, (ROOT / "CHANGELOG.md").read_text())


def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def in_sdist(sdist: Path) -> set[str]:
    """Without the folder that everything in it stands in."""
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def package_files() -> set[str]:
    files = (path for path in (ROOT / NAME).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(ROOT).as_posix() for path in files}


def _unlike(what: str, found: Set[str], expected: Set[str]) -> Iterator[str]:
    if missing := sorted(expected - found):
        yield f"{what} lacks {', '.join(missing)}"
    if surplus := sorted(found - expected):
        yield f"{what} must not hold {', '.join(surplus)}"


def _ill_described(wheel: Path) -> Iterator[str]:
    """What an index shows of the package: its version, its licence and the README."""
    with zipfile.ZipFile(wheel) as archive:
        said = Parser().parsestr(archive.read(f"{INFO}/METADATA").decode())
    if said["Version"] != __version__:
        yield f"{wheel.name} says that its version is {said['Version']}"
    if said["License-Expression"] != "MIT":
        yield f"{wheel.name} names no licence"
    if said.get_payload() != (ROOT / "README.md").read_text():
        yield f"{wheel.name} is not described by README.md"


def unfit_for_release(tag: str, changelog: str) -> Iterator[str]:
    if tag != f"v{__version__}":
        yield f"the tag {tag} is not v{__version__}, which __version__ says"
    if not re.search(rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        yield f"CHANGELOG.md has no heading `## [{__version__}] - ` with a date"
    if changelog.partition("## [Unreleased]\n")[2].split("\n## ")[0].strip():
        yield "CHANGELOG.md still has something under Unreleased: move it to the version's heading"


def main(dist: str, tag: str | None = None) -> None:
    found = list(problems(Path(dist), tag))
    for problem in found:
        print(problem)
    if found:
        sys.exit(1)
    print(f"{WHEEL} and {SDIST} are whole")


if __name__ == "__main__":
    main(*sys.argv[1:])
