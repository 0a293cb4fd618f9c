"""Programs that a page shows in pieces: they are put one after the other, and imported from a new folder."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.readme.reading import PAGES, blocks


def program_of(page: str, folder: Path, patch: pytest.MonkeyPatch) -> Any:
    """The module that all Python of this page makes, with `folder` as working directory."""
    pieces = [block.text for block in blocks(PAGES[page]) if block.language == "python"]
    name = f"main_of_{page.removesuffix('.md').replace('-', '_')}"
    path = folder / f"{name}.py"
    path.write_text("\n\n".join(pieces))
    patch.chdir(folder)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, name, module)  # where annotations are looked up
    spec.loader.exec_module(module)
    return module
