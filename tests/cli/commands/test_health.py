"""`health` of a service that runs, or does not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.cli.calls import Cli

ANSWERS: dict[str, tuple[int, Any]] = {
    "/health/kafka": (503, {"status": "down", "reasons": ["broker_unreachable", "\x1b[31m"]}),
    "/health/kafka/ready": (503, {"status": "down", "reasons": ["broker_unreachable"]}),
    "/health/kafka/live": (200, {"status": "up"}),
    "/other": (200, {"status": "degraded"}),
    "/closed": (401, "log in"),
    "/": (404, "nothing"),
}


class Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = ANSWERS.get(self.path, (404, "nothing"))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "words", "code", "told"),
    [
        ("", (), 1, "down: broker_unreachable, \\x1b[31m\n"),
        ("/", ("--ready",), 1, "down: broker_unreachable\n"),
        ("", ("--live",), 0, "up\n"),
        ("/other", (), 0, "degraded\n"),
        ("/closed", (), 4, ""),
        ("/elsewhere", (), 5, ""),
        ("", ("--live", "--ready"), 2, ""),
    ],
)
def test_what_it_says_decides_the_code(
    cli: Cli, url: str, path: str, words: tuple[str, ...], code: int, told: str
) -> None:
    ran = cli("health", "--url", f"http://{url}{path}", *words)
    assert (ran.code, ran.out) == (code, told)


def test_the_scheme_may_be_left_away(cli: Cli, url: str) -> None:
    assert cli("health", "--url", url, "--live", "--json").json == {"status": "up"}


def test_nobody_who_answers_is_3(cli: Cli) -> None:
    ran = cli("health", "--url", "http://127.0.0.1:1")
    assert (ran.code, ran.err) == (
        3,
        "error: http://127.0.0.1:1/health/kafka gives no answer: Connection refused. "
        "Does the service run, and is this its port?\n",
    )


@pytest.mark.parametrize("given", ["file:///etc/passwd", "ftp://host", "http://"])
def test_only_a_service_is_asked(cli: Cli, given: str) -> None:
    assert cli("health", "--url", given).code == 2
