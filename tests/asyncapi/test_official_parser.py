"""AsyncAPI's own parser, which looks at more than its schema says, has nothing to say against a document."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from convex_messaging_fastapi.asyncapi import document
from example_app.main import app as example
from example_app.main import bus as example_bus
from tests.asyncapi.zoo import zoo

PARSER = "@asyncapi/parser@3.6.6"

PROGRAM = """
import { Parser } from '@asyncapi/parser';
import { readFileSync } from 'node:fs';
for (const path of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(path, 'utf8'));
  console.log(JSON.stringify([document?.version() ?? null, diagnostics.map(each => each.message)]));
}
"""


@pytest.mark.faults  # it takes long: packages are fetched
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm here")
def test_the_official_parser_accepts_every_document_and_no_broken_one(tmp_path: Path) -> None:
    broken: dict[str, Any] = {**document(zoo()), "operations": {"take": {"action": "receive"}}}
    documents = [document(zoo()), document(example_bus, example), broken]
    for number, each in enumerate(documents):
        (tmp_path / f"{number}.json").write_text(json.dumps(each))
    (tmp_path / "parse.mjs").write_text(PROGRAM)
    for command in (
        ["npm", "install", "--silent", "--ignore-scripts", PARSER],
        ["node", "parse.mjs", "0.json", "1.json", "2.json"],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    *sound, (version, said) = [json.loads(line) for line in done.stdout.splitlines()]
    assert sound == [["3.1.0", []]] * 2
    assert version is None
    assert said
