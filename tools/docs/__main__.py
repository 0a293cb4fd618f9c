"""Builds the site into `build/docs/site`: `python -m tools.docs`, which is `make docs`.

`DOCS_REPOSITORY` is the address of the repository: links to its other files lead there, and are told as names
without it. Ends with 1, and says why, where a page links to what is not there, or is not drawn as meant.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.docs import checks, commands, llms, python
from tools.docs.pages import LinkError, collected, heading, on_site, placed, turned

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "docs"
SITE, SOURCE = BUILD / "site", BUILD / "source"

Sections = Mapping[str, Sequence[str]]


def main() -> int:
    site = yaml.safe_load((ROOT / "docs" / "site.yml").read_text())
    pages = collected(ROOT) | dict(python.pages()) | dict(commands.pages())
    sections = placed(site["nav"], pages)
    repository = os.environ.get("DOCS_REPOSITORY", "")
    try:
        turned_pages = {name: turned(name, text, pages, ROOT, repository) for name, text in pages.items()}
    except LinkError as error:
        print(error, file=sys.stderr)
        return 1
    write(site, sections, turned_pages)
    zensical = Path(sys.executable).with_name("zensical")
    built = subprocess.run(
        [zensical, "build", "--strict", "--config-file", BUILD / "mkdocs.yml"], check=False
    )
    if built.returncode:
        return built.returncode
    tell_models(site, sections, turned_pages)
    found = list(checks.problems(SITE))
    print(*found, f"{len(pages)} pages in {SITE.relative_to(ROOT)}, {len(found)} problems", sep="\n")
    return 1 if found else 0


def write(site: Mapping[str, Any], sections: Sections, pages: Mapping[str, str]) -> None:
    """What the generator reads: all pages in one folder, and its settings beside it."""
    shutil.rmtree(BUILD, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    for picture in (path for path in (ROOT / "docs").rglob("*.*") if path.suffix in (".png", ".svg")):
        place = SOURCE / picture.relative_to(ROOT / "docs")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, place)
    for name, text in pages.items():
        (SOURCE / on_site(name)).write_text(text)
    nav = [
        {title: [{heading(pages[name]): on_site(name)} for name in names]}
        for title, names in sections.items()
    ]
    settings = {**site, "docs_dir": SOURCE.name, "site_dir": SITE.name, "nav": nav}
    (BUILD / "mkdocs.yml").write_text(yaml.safe_dump(settings, allow_unicode=True, sort_keys=False))


def tell_models(site: Mapping[str, Any], sections: Sections, pages: Mapping[str, str]) -> None:
    """Each page's Markdown beside it, a list of them, and all of them in one file."""
    for name, text in pages.items():
        (SITE / on_site(name)).write_text(text)
    (SITE / "llms.txt").write_text(llms.index(sections, pages, site["site_name"], site["site_description"]))
    (SITE / "llms-full.txt").write_text(llms.whole(sections, pages))


if __name__ == "__main__":
    sys.exit(main())
