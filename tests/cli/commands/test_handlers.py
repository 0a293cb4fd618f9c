"""`handlers` as a table and as JSON."""

from __future__ import annotations

from pathlib import Path

from tests.cli.calls import Cli, ran

TABLE = """\
HANDLER        KIND     TOPICS           GROUP            MESSAGE
take-payment   event    convex.orders    convex-group     OrderPlaced
count          event    convex.orders    counting         OrderPlaced
print-invoice  command  convex.invoices  convex.invoices  dict[str, str]
"""


def test_handlers_are_listed_with_their_names_in_the_cluster(shop: Path, cli: Cli) -> None:
    assert cli("handlers") == (0, TABLE, "")


def test_handlers_as_json_have_every_choice(shop: Path, cli: Cli) -> None:
    payment, count, invoice = cli("handlers", "--json").json
    assert payment == {
        "id": "take-payment",
        "kind": "event",
        "topics": ["convex.orders"],
        "group": "convex-group",
        "message": "OrderPlaced",
        "ordering": "key",
        "concurrency": 32,
        "attempts": 5,
        "dead_letter": "bury",
        "timeout_seconds": 2.5,
        "batch_records": None,
    }
    assert (count["group"], count["batch_records"]) == ("counting", 50)
    assert (invoice["kind"], invoice["group"]) == ("command", "convex.invoices")


def test_nobody_is_told_at_the_end_that_handlers_got_no_message(shop: Path) -> None:
    assert ran("handlers", folder=shop).err == ""


def test_an_app_in_memory_can_be_listed(shop: Path) -> None:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "memory://", "KAFKA_TOPIC_PREFIX": "acme"}
    assert "acme.orders" in ran("handlers", folder=shop, environment=environment).out
