"""`asyncapi` prints the document; `--check` says in words, and by its code, what the file lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.asyncapi.comparing.test_messages import TWELVE, Case
from tests.asyncapi.comparing.versions import described
from tests.asyncapi.official_schema import mistakes_in
from tests.cli.calls import Cli, ran
from tests.support.services import ROOT

FILE = "asyncapi.json"

SHOP = """
from fastapi import FastAPI
from convex_messaging_fastapi import MessageBus, MessagingRouter, MessagingSettings
from tests.asyncapi.comparing.test_messages import TWELVE

bus = MessageBus(MessagingSettings(bootstrap_servers="memory://", consumer_group="shop"))
app = FastAPI(title="shop")
app.include_router(MessagingRouter(bus))
message = TWELVE[{number}].values[0].after
if {is_sent}:
    bus.publishes("orders", message)
else:
    async def handle(message): ...
    handle.__annotations__["message"] = message
    bus.subscriber("orders", id="handle")(handle)
"""


@pytest.fixture
def kept(shop: Path, cli: Cli) -> Callable[..., Any]:
    """Writes the document of the app on file, changed by a function."""

    def keep(change: Callable[[Any], object] = lambda document: None) -> Any:
        document = cli("asyncapi").json
        change(document)
        (shop / FILE).write_text(json.dumps(document))
        return document

    return keep


def test_it_prints_the_document_of_the_app(shop: Path, cli: Cli) -> None:
    printed = cli("asyncapi")
    assert (printed.code, printed.err) == (0, "")
    assert mistakes_in(printed.json) == []
    assert printed.json["info"] == {"title": "FastAPI", "version": "0.1.0"}
    assert list(printed.json["channels"]) == ["invoices", "orders"]
    assert printed.json["servers"]["kafka"]["host"] == "localhost:9092"
    assert printed.out.startswith('{\n  "asyncapi": "3.1.0"')


def test_other_servers_may_be_named(shop: Path, cli: Cli) -> None:
    assert cli("asyncapi", "--bootstrap-servers", "kafka:1").json["servers"]["kafka"]["host"] == "kafka:1"


def test_a_bus_without_an_app_is_called_by_its_group(shop: Path, cli: Cli) -> None:
    assert cli("asyncapi", "--app", "main:bus").json["info"]["title"] == "convex-group"


def test_todays_document_is_nothing_to_tell(kept: Callable[..., Any], cli: Cli) -> None:
    kept()
    assert cli("asyncapi", "--check", FILE) == (0, "", "asyncapi.json is today's document\n")
    assert cli("asyncapi", "--check", FILE, "--json").out == "[]\n"


def reword(document: Any) -> None:
    document["info"]["version"] = "0.0.9"


def forget(document: Any) -> None:
    """An amount that was there, and that senders need not have sent."""
    order = document["components"]["schemas"]["OrderPlaced"]
    del order["properties"]["Amount"]
    order["required"].remove("Amount")


def both(document: Any) -> None:
    reword(document)
    forget(document)


def test_what_changed_is_told_and_how_to_write_it_anew(kept: Callable[..., Any], cli: Cli) -> None:
    kept(both)
    told = cli("asyncapi", "--app", "main:app", "--check", FILE)
    assert told.code == 1
    assert told.lines == [
        'the version is "0.1.0", and was "0.0.9"',
        "orders, received OrderPlaced: field Amount was added, and is required (breaks)",
    ]
    assert told.err == (
        "asyncapi.json is not today's document: 2 changes, 1 of which breaks others. To write it anew: "
        "convex-messaging asyncapi --app main:app > asyncapi.json\n"
    )


def test_only_what_breaks_is_told_where_that_was_asked(kept: Callable[..., Any], cli: Cli) -> None:
    kept(both)
    told = cli("asyncapi", "--check", FILE, "--breaking")
    assert (told.code, told.lines) == (
        1,
        ["orders, received OrderPlaced: field Amount was added, and is required"],
    )


def test_what_breaks_nobody_ends_well_where_only_that_was_asked(kept: Callable[..., Any], cli: Cli) -> None:
    kept(reword)
    told = cli("asyncapi", "--check", FILE, "--breaking")
    assert (told.code, told.out) == (0, "")
    assert "not today's document: 1 change, none of which breaks others" in told.err
    assert cli("asyncapi", "--check", FILE).code == 1


def test_changes_as_json(kept: Callable[..., Any], cli: Cli) -> None:
    kept(forget)
    (change,) = cli("asyncapi", "--check", FILE, "--json").json
    assert change == {
        "kind": "field_added_required",
        "breaks": True,
        "topic": "orders",
        "direction": "received",
        "message": "OrderPlaced",
        "field": "Amount",
        "sentence": "orders, received OrderPlaced: field Amount was added, and is required",
    }


@pytest.mark.parametrize("direction", ["received", "sent"])
@pytest.mark.parametrize("number", range(len(TWELVE)), ids=lambda n: TWELVE[n].values[0].kind)
def test_twelve_kinds_of_change_in_both_directions(
    folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, number: int, direction: str
) -> None:
    case: Case = TWELVE[number].values[0]
    monkeypatch.syspath_prepend(str(ROOT))
    (folder / "main.py").write_text(SHOP.format(number=number, is_sent=direction == "sent"))
    (folder / FILE).write_text(json.dumps(described(direction, case.before)))
    breaks = direction in case.breaks
    sentence = f"orders, {direction} Order: {case.sentence}"

    whole = cli("asyncapi", "--check", FILE)
    assert (whole.code, whole.lines) == (1, [f"{sentence}{' (breaks)' if breaks else ''}"])

    broken = cli("asyncapi", "--check", FILE, "--breaking")
    assert (broken.code, broken.lines) == ((1, [sentence]) if breaks else (0, []))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "missing.json cannot be read: No such file or directory"),
        ("{", "missing.json is not JSON: "),
        ("\udcff", "missing.json is not JSON: "),
        (
            '{"openapi": "3.1.0"}',
            "no AsyncAPI document of version 3: it has no line `asyncapi`",
        ),
    ],
)
def test_a_file_that_is_no_document_is_usage(shop: Path, cli: Cli, written: str | None, said: str) -> None:
    if written is not None:
        (shop / "missing.json").write_bytes(written.encode("utf-8", "surrogateescape"))
    told = cli("asyncapi", "--check", "missing.json")
    assert (told.code, told.out) == (2, "")
    assert said in told.err


def test_breaking_without_a_file_is_usage(shop: Path, cli: Cli) -> None:
    assert cli("asyncapi", "--breaking") == (2, "", "error: --breaking goes with --check FILE\n")


def test_an_app_that_would_not_start_says_why(shop: Path, cli: Cli) -> None:
    (shop / "main.py").write_text((shop / "main.py").read_text() + "\nbus.publishes('dlq', int)\n")
    told = cli("asyncapi")
    assert told.code == 2
    assert "dead letters are written there" in told.err


def test_nothing_but_the_document_is_printed_by_a_process(shop: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT)}
    printed = ran("asyncapi", folder=shop, environment=environment)
    assert (printed.code, printed.err) == (0, "")
    assert mistakes_in(printed.json) == []
