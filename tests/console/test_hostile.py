"""Whatever others have written into messages, keys, headers, errors and names, a page only shows it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from convex_messaging_fastapi.console.inert import carried, inert_lines
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from tests.console.support import PREFIX, SAME_SITE, Page, Visit, visited

SCRIPT = "<script>alert(1)</script>"
EVIL = [
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }}{% raw %}",
    "</textarea></title><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "\u202eevil\u2066\u200b\ufeff\x00\x1b[2J\r\n\x85\u2028",
    "&lt;script&gt;&#x3c;",
    "a" * 3000,
    "\u202eevil\u200b",
    "\ud800",
]


def letter(evil: str, n: int) -> OutgoingRecord:
    said: dict[str, Any] = {
        "OriginalTopic": evil or "x",
        "OriginalMessage": evil,
        "OriginalKey": evil,
        "OriginalPartition": 0,
        "OriginalOffset": n,
        "OriginalHeaders": [{"Name": evil, "Value": evil}, {"Name": "Authorization", "Value": "Bearer 42"}],
        "ErrorMessage": evil,
        "ExceptionType": evil,
        "StackTrace": evil,
        "Frame": evil,
        "FailedAt": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "ConsumerGroup": evil,
        "Handler": evil,
        "MessageId": evil,
        "Attempts": 1,
        "ReplayCount": 0,
    }  # fmt: skip
    headers = (("message-id", f"{n}".encode()),)
    return OutgoingRecord(evil.encode("utf-8", "replace"), json.dumps(said).encode(), headers)


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    async with visited() as visit:
        await visit.fail(1)
        for n, evil in enumerate(EVIL):
            visit.bench.broker.append(TopicPartition("convex.dlq", 0), [letter(evil, n)])
            value = evil.encode("utf-8", "surrogatepass")
            record = OutgoingRecord(value, value, ((evil, value), ("none", None)))
            visit.bench.broker.append(TopicPartition("convex.payments", 1), [record])
        visit.bench.broker.append(
            TopicPartition("convex.payments", 1), [OutgoingRecord(None, bytes(range(256)), ())]
        )
        await visit.bench.settle()
        visit.bench.clock.advance(10)
        yield visit


async def pages_of(visit: Visit) -> AsyncIterator[tuple[str, str]]:
    listed = (await visit.get("/api/dead-letters?state=all")).json()["letters"]
    assert len(listed) >= len(EVIL)
    paths = ["", "/subscriptions", "/dead-letters", "/dead-letters/list", "/dead-letters/validate", "/jobs"]
    paths += [f"/dead-letters/{each['id']}" for each in listed]
    paths += ["/tail?topic=convex.payments", "/tail?topic=convex.dlq", "/dead-letters/discard"]
    for path in paths:
        found = await visit.get(path)
        assert found.status_code == 200, (path, found.text)
        yield path, found.text


async def test_no_page_has_an_element_or_attribute_that_a_message_brought(visit: Visit) -> None:
    async for path, text in pages_of(visit):
        page = Page(text)
        assert len(page.all("script")) == 1, path
        assert not page.all("img"), path
        assert not page.all("svg"), path
        for _, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on")], path
            assert not attributes.get("href", "").startswith("javascript"), path


async def test_no_page_has_a_character_that_hides_or_turns_the_direction_of_writing(visit: Visit) -> None:
    async for path, text in pages_of(visit):
        odd = {each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert odd <= {"\n", "\t"}, (path, odd)


async def test_addresses_are_as_inert(visit: Visit) -> None:
    for evil in EVIL[:-1]:
        for path, name in (
            ("/dead-letters", "topic"),
            ("/dead-letters/list", "text"),
            ("/dead-letters", "state"),
            ("/dead-letters/replay", "handler"),
            ("/subscriptions/pause", "subscription"),
            ("/tail", "topic"),
            ("/subscriptions", "done"),
        ):
            answer = await visit.browser.get(PREFIX + path, params={name: evil})
            assert answer.status_code < 500, (path, evil)
            page = Page(answer.text)
            assert len(page.all("script")) == 1
            assert not page.all("img")


async def test_json_is_ascii_and_is_called_json(visit: Visit) -> None:
    for path in ("/api/dead-letters?state=all", "/api/tail?topic=convex.payments", "/api/dead-letters/0/0"):
        answer = await visit.get(path)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.content.isascii()
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def of_topic(visit: Visit, topic: str) -> list[dict[str, Any]]:
    asked = await visit.browser.get(f"{PREFIX}/api/dead-letters", params={"state": "all", "topic": topic})
    found: list[dict[str, Any]] = asked.json()["letters"]
    return found


async def test_a_download_is_the_message_byte_for_byte_and_never_a_page(visit: Visit) -> None:
    listed = await of_topic(visit, EVIL[1])
    for each in listed:
        answer = await visit.get(f"/download/{each['id']}")
        assert answer.content == EVIL[1].encode()
        assert answer.headers["content-type"] == "application/octet-stream"
        name = each["id"].replace("/", "-")
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}.bin"'
    assert len(listed) == 1


async def test_headers_that_hold_secrets_are_hidden(visit: Visit) -> None:
    listed = await of_topic(visit, EVIL[1])
    path = f"dead-letters/{listed[0]['id']}"
    for found in (await visit.get(f"/{path}"), await visit.get(f"/api/{path}")):
        assert "Authorization" in found.text
        assert "Bearer 42" not in found.text
        assert "(hidden)" in found.text


async def test_a_large_message_is_shown_in_part_and_downloaded_whole() -> None:
    async with visited() as visit:
        await visit.fail(1)
        large = json.dumps({"Amount": "x" * 900_000}).encode()
        letter = OutgoingRecord(
            b"k",
            json.dumps(
                {
                    "OriginalTopic": "convex.payments",
                    "OriginalMessage": large.decode(),
                    "ErrorMessage": "too much",
                    "FailedAt": "2026-01-01T00:00:00Z",
                    "ConsumerGroup": "shop",
                    "Handler": "take_payment",
                }
            ).encode(),
            (),
        )
        visit.bench.broker.append(TopicPartition("convex.dlq", 0), [letter])
        visit.bench.clock.advance(10)
        id = (await visit.get("/api/dead-letters?text=too+much")).json()["letters"][0]["id"]
        page = await visit.get(f"/dead-letters/{id}")
        assert "of which the first part is shown" in page.text
        assert len(page.content) < 120_000
        assert (await visit.get(f"/download/{id}")).content == large
        told = (await visit.get(f"/api/dead-letters/{id}")).json()
        assert (told["value_bytes"], told["value_is_cut"], len(told["value"])) == (len(large), True, 65536)


async def test_numbers_in_a_message_keep_their_digits() -> None:
    async with visited() as visit:
        await visit.fail(1)
        value = b'{"Amount": 100.00, "Rate": 1e400, "Id": 12345678901234567890123}'
        await visit.bus.publish("payments", value)
        await visit.bench.settle()
        visit.bench.clock.advance(10)
        listed = (await visit.get("/api/dead-letters?text=100.00")).json()["letters"]
        text = (await visit.page(f"/dead-letters/{listed[0]['id']}")).text
        assert '"Amount": 100.00, "Rate": 1e400, "Id": 12345678901234567890123' in text


@pytest.mark.parametrize("text", EVIL)
def test_inert_text_shows_every_character_that_is_not_seen(text: str) -> None:
    shown = inert_lines(text)
    assert not {each for each in shown if unicodedata.category(each) in ("Cf", "Cs", "Zl", "Zp")}
    assert "\x1b" not in shown
    carried(text).encode()


@pytest.mark.parametrize("evil", [*EVIL[:6], EVIL[-2]])
async def test_what_a_form_sends_back_is_what_it_was_given(visit: Visit, evil: str) -> None:
    """Or the token would not fit, and nothing could be done about letters of such a handler."""
    asked = await visit.browser.get(f"{PREFIX}/dead-letters/discard", params={"handler": evil})
    form = Page(asked.text).form("post")
    assert form.fields["handler"] == [evil]
    sent = {**form.fields, "reason": "hostile"}
    pressed = await visit.browser.post(form.action, data=sent, headers=SAME_SITE)
    assert pressed.status_code == 303, pressed.text
    state = {"state": "discarded", "handler": evil}
    told = (await visit.browser.get(f"{PREFIX}/api/dead-letters", params=state)).json()
    assert told["matched"] == 1
