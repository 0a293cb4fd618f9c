"""A key with a pass phrase is opened with the one that is set, or refused; nobody is asked for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings import MessagingSettings, load
from convex_messaging_fastapi.transport.kafka.engine.connections.security import Access, tls_context

PHRASE = "hunter2 s3cr3t"
NO_PROMPT_SECONDS = 60
KINDS = {
    "PKCS #8": "pkcs8 -topk8 -v2 aes256",
    "traditional": "rsa -aes256 -traditional",
}


def _openssl(folder: Path, arguments: str, *more: str) -> None:
    subprocess.run(
        ["openssl", *arguments.split(), *more], cwd=folder, check=True, capture_output=True, timeout=60
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    _openssl(
        folder, "req -x509 -newkey rsa:2048 -nodes -keyout plain.key -out ours.crt -days 2 -subj /CN=bets"
    )
    for name, kind in KINDS.items():
        _openssl(folder, f"{kind} -in plain.key -out {name.split()[0]}.key -passout", f"pass:{PHRASE}")
    return folder


def _settings(keys: Path, name: str, **choices: Any) -> MessagingSettings:
    return load(
        bootstrap_servers="kafka:9093",
        security_protocol="SSL",
        ssl_certificate_location=str(keys / "ours.crt"),
        ssl_key_location=str(keys / f"{name.split()[0]}.key"),
        **choices,
    )


@pytest.mark.parametrize("name", [*KINDS, "plain"])
def test_ssl_key_password_opens_the_key(keys: Path, name: str) -> None:
    settings = _settings(keys, name, ssl_key_password=PHRASE)
    assert tls_context(settings)
    assert PHRASE not in f"{settings!r} {settings.model_dump_json()}"


@pytest.mark.parametrize("name", KINDS)
def test_ssl_key_password_file_opens_the_key(keys: Path, name: str, tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    settings = _settings(keys, name, ssl_key_password_file=str(phrase))
    with pytest.raises(OSError, match=f"ssl_key_password_file is {phrase}: No such file"):
        tls_context(settings)
    phrase.write_text("another")
    with pytest.raises(OSError, match="ssl_key_password is not the pass phrase"):
        tls_context(settings)
    phrase.write_text(f"{PHRASE}\n")
    assert tls_context(settings)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "has a pass phrase: set ssl_key_password"),
        ("another", "ssl_key_password is not the pass phrase"),
        ("x" * 5000, "ssl_key_password is not the pass phrase"),
    ],
    ids=["none", "another", "too long"],
)
def test_without_the_right_one_a_sentence_says_so(
    keys: Path, name: str, given: str | None, sentence: str
) -> None:
    with pytest.raises(OSError, match=sentence) as caught:
        _ = Access(_settings(keys, name, ssl_key_password=given)).credentials
    assert given is None or given not in str(caught.value)


@pytest.mark.parametrize("name", KINDS)
def test_nobody_is_asked_at_a_terminal(keys: Path, name: str) -> None:
    """With a terminal of its own, at which nobody sits."""
    code = f"""
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    from convex_messaging_fastapi.settings import load
    from convex_messaging_fastapi.transport.kafka.engine.connections.security import tls_context
    try:
        tls_context(load(
            bootstrap_servers="kafka:9093", security_protocol="SSL",
            ssl_certificate_location={str(keys / "ours.crt")!r},
            ssl_key_location={str(keys / f"{name.split()[0]}.key")!r},
        ))
    except OSError as error:
        print(error, flush=True)
    os._exit(0)
said = b""
try:
    while piece := os.read(terminal, 1000):
        said += piece
except OSError:
    pass
print(said.decode())
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=NO_PROMPT_SECONDS
    )
    assert "the key has a pass phrase" in ended.stdout
    assert "Enter PEM" not in ended.stdout


def test_a_pass_phrase_without_a_key_is_a_contradiction() -> None:
    with pytest.raises(ConfigurationError, match="ssl_key_password needs ssl_key_location"):
        load(bootstrap_servers="kafka:9093", security_protocol="SSL", ssl_key_password=PHRASE)
