"""The page fits its window, on a phone as on a screen; skipped where there is no Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

from convex_messaging_fastapi.asyncapi import document, page
from example_app.main import app as example
from example_app.main import bus as example_bus
from tests.asyncapi.zoo import zoo

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (320, 400, 1200)

# in frames, since a window of Chromium cannot be as narrow as a phone
MEASURES = """<!doctype html><body><script>
const told = [];
onload = () => {
  for (const frame of document.querySelectorAll('iframe')) {
    const page = frame.contentDocument.documentElement;
    told.push([page.clientWidth, page.scrollWidth, page.scrollHeight > 500]);
  }
  document.body.textContent = 'told' + JSON.stringify(told) + 'told';
};
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_no_page_is_wider_than_its_window(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    pages = [page(document(zoo())), page(document(example_bus, example))]
    frames = [
        f'<iframe srcdoc="{escape(text)}" style="width:{width}px;height:800px;border:0"></iframe>'
        for text in pages
        for width in WIDTHS
    ]
    (tmp_path / "frames.html").write_text(MEASURES + "".join(frames))
    options = ("--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}")
    command = [CHROMIUM, *options, "--dump-dom", (tmp_path / "frames.html").as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    found = re.search("told(.+)told", ran.stdout)
    assert found is not None, ran.stdout
    told = json.loads(found[1])
    assert [inside for inside, _, _ in told] == [*WIDTHS] * 2
    assert [(inside, whole) for inside, whole, _ in told if whole > inside] == []
    assert all(is_filled for _, _, is_filled in told)
