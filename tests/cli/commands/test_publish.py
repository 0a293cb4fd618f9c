"""`publish` and `tail`, on the wire."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.cli.calls import Cli, Ran
from tests.support.wire import WireCluster

TOPIC = "orders"


@pytest.fixture
def on_wire(cli: Cli, wire: WireCluster) -> Cli:
    """The command line with the wire cluster as its own."""

    def call(*arguments: str) -> Ran:
        return cli(*arguments, "--bootstrap-servers", wire.bootstrap_servers)

    return call


def give(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))


def records(on_wire: Cli, *words: str) -> list[dict[str, object]]:
    ran = on_wire("tail", TOPIC, "--from", "earliest", "--exit-at-end", "--json", *words)
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.lines]


def test_a_message_is_written_and_where_is_told(on_wire: Cli) -> None:
    ran = on_wire("publish", TOPIC, '{"id": 7}', "--key", "ada", "--header", "message-type=OrderPlaced")
    assert ran.code == 0, ran.err
    topic, partition, offset = ran.out.strip().split("/")
    (record,) = records(on_wire)
    assert (topic, int(partition), int(offset)) == ("convex.orders", record["partition"], record["offset"])
    assert (record["key"], record["value"]) == ("ada", '{"id": 7}')
    headers = dict(record["headers"])  # type: ignore[call-overload]
    assert headers["message-type"] == "OrderPlaced"
    assert headers["content-type"] == "application/json"


def test_a_receipt_as_json(on_wire: Cli) -> None:
    told = json.loads(on_wire("publish", TOPIC, "1", "--json").out)
    assert told.keys() == {"topic", "partition", "offset", "timestamp"}


def test_quiet_says_nothing(on_wire: Cli) -> None:
    assert on_wire("publish", TOPIC, "1", "--quiet")[:2] == (0, "")


def test_lines_are_messages_with_keys_of_their_own(on_wire: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"".join(b'{"id": %d, "by": "user-%d"}\n\n' % (id, id % 3) for id in range(1200))
    give(monkeypatch, lines)
    ran = on_wire("publish", TOPIC, "--jsonl", "--key-field", "by")
    assert ran.code == 0, ran.err
    assert len(ran.lines) == 1200
    found = records(on_wire)
    assert len(found) == 1200
    for user in range(3):
        ids = [json.loads(str(each["value"]))["id"] for each in found if each["key"] == f"user-{user}"]
        assert ids == list(range(user, 1200, 3)), "one key keeps its order"


def test_a_file_may_hold_anything(on_wire: Cli, folder: Path) -> None:
    (folder / "body").write_bytes(b"\xff\x00\n")
    assert on_wire("publish", TOPIC, "@body").code == 0
    (record,) = records(on_wire)
    assert (record["value"], record["value_base64"]) == (None, "/wAK")
    assert dict(record["headers"])["content-type"] == "application/octet-stream"  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (
            ("publish", "nowhere", "1"),
            5,
            "there is no topic convex.nowhere: see convex-messaging topics list",
        ),
        (("publish", TOPIC, "@missing"), 2, "missing cannot be read: No such file or directory"),
        (("publish", TOPIC, "1", "--header", "nonsense"), 2, "--header takes NAME=VALUE, not nonsense"),
        (("publish", TOPIC, "1", "--key", "a", "--key-field", "b"), 2, "--key or --key-field, not both"),
        (("publish", TOPIC, "{}", "--key-field", "id"), 2, "message 1 has no field 'id'"),
        (("publish", "no/topic", "1"), 2, "'convex.no/topic' cannot be the name of a topic"),
        (("tail", "nowhere", "--exit-at-end"), 5, "there is no topic convex.nowhere"),
        (
            ("tail", TOPIC, "--partition", "9", "--exit-at-end"),
            5,
            "topic convex.orders has 2 partitions: 0 to 1",
        ),
        (("tail", TOPIC, "--from", "yesterday"), 2, "yesterday is no time: write it as 2026-11-01T00:00"),
        (("tail", TOPIC, "--grep", "("), 2, "--grep is no regular expression"),
        (("tail", TOPIC, "--max-bytes", "64 kB"), 2, "64 kB is no size: write it as 500, 64k or 1m"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    on_wire: Cli, words: tuple[str, ...], code: int, told: str
) -> None:
    ran = on_wire(*words)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert told in ran.err
    assert ran.err.count("\n") == 1


def test_a_line_that_is_wrong_ends_it_and_what_was_written_is_told(
    on_wire: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, b'{"id": 1}\n{"no": 2}\n')
    ran = on_wire("publish", TOPIC, "--jsonl", "--key-field", "id", "--rate", "1000")
    assert ran.code == 2
    assert len(ran.lines) == 1
    assert "message 2 has no field 'id'" in ran.err


def test_with_an_app_a_message_that_no_handler_takes_is_refused(shop: Path, on_wire: Cli) -> None:
    ran = on_wire("publish", TOPIC, '{"OrderId": "x"}', "--app", "main:bus")
    assert ran.code == 1
    assert "message 1 would not be taken by take-payment: " in ran.err
    assert on_wire("publish", TOPIC, '{"OrderId": 1, "Amount": 2.50}', "--app", "main:bus").code == 0


HOSTILE = "\x1b[2J\u202emoc.live\n"


def test_a_hostile_record_is_one_harmless_line(on_wire: Cli) -> None:
    assert on_wire("publish", TOPIC, json.dumps("x") + " ", "--key", HOSTILE).code == 0
    assert on_wire("publish", TOPIC, HOSTILE, "--header", f"{HOSTILE}={HOSTILE}").code == 0
    for words in ((), ("--json",)):
        ran = on_wire("tail", TOPIC, "--from", "earliest", "--exit-at-end", *words)
        assert len(ran.lines) == 2
        assert not any(each in ran.out for each in "\x1b\u202e")


def test_a_long_value_is_cut_and_its_size_told(on_wire: Cli) -> None:
    on_wire("publish", TOPIC, "x" * 2000)
    ran = on_wire("tail", TOPIC, "--from", "earliest", "--exit-at-end", "--max-bytes", "10")
    assert ran.out.endswith("  xxxxxxxxxx... (2,000 bytes)\n")


@pytest.fixture
def ten(on_wire: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, b"".join(b'{"id": %d, "by": "%d"}\n' % (id, id % 2) for id in range(10)))
    assert on_wire("publish", TOPIC, "--jsonl", "--key-field", "by", "--rate", "500").code == 0


@pytest.mark.usefixtures("ten")
@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ((), range(10)),
        (("--from", "-3"), (7, 8, 9)),
        (("--from", "-0"), ()),
        (("-n", "2", "--key", "0"), (0, 2)),
        (("--key", "1"), (1, 3, 5, 7, 9)),
        (("--grep", '"id": [34]'), (3, 4)),
        (("--to", "2020-01-01T00:00"), ()),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_what_is_asked_for_is_shown(on_wire: Cli, words: tuple[str, ...], ids: range) -> None:
    begin = () if "--from" in words else ("--from", "earliest")
    ran = on_wire("tail", TOPIC, "--exit-at-end", "--json", *begin, *words)
    assert ran.code == 0, ran.err
    assert sorted(json.loads(json.loads(line)["value"])["id"] for line in ran.lines) == list(ids)
