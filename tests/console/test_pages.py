"""Each page reads without a script, by a screen reader, and says what to do where there is nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest

from convex_messaging_fastapi import verdicts
from convex_messaging_fastapi.console import wording
from convex_messaging_fastapi.console.wording import REASONS, STATUSES
from convex_messaging_fastapi.operations import JobStatus, LetterState, Verdict
from convex_messaging_fastapi.operations.replaying.choosing import NotReplayed
from tests.console.support import HANDLER, PREFIX, Page, Visit, app_with, calling, visited
from tests.plugin.calls import ScriptedBus
from tests.support.snapshots import SITUATIONS, with_outbox

ONE = f"?group=shop&subscription={HANDLER}"


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    async with visited() as visit:
        yield visit


async def every_page(visit: Visit) -> dict[str, Page]:
    """Those of a shop in which two payments have failed, and one of them was replayed and failed again."""
    await visit.fail(1, 2)
    letter = (await visit.get("/api/dead-letters")).json()["letters"][0]
    pressed = await visit.press(f"/dead-letters/replay?state=all&anyway=yes&ids={letter['id']}")
    await visit.bench.settle()
    visit.bench.clock.advance(10)
    job = pressed.headers["location"].removeprefix(PREFIX)
    paths = [
        "", "/subscriptions", "/dead-letters", "/dead-letters?state=all", "/dead-letters?topic=none",
        "/dead-letters/list?state=all", f"/dead-letters/group/{letter['group_id']}",
        f"/dead-letters/{letter['id']}", "/dead-letters/validate", "/jobs", job, "/tail",
        "/tail?topic=convex.payments", "/settings", "/asyncapi", "/outboxes",
        f"/dead-letters/replay?ids={letter['id']}",
        "/dead-letters/discard", f"/dead-letters/reopen?ids={letter['id']}", f"/subscriptions/pause{ONE}",
        f"/subscriptions/resume{ONE}", f"/jobs/stop?id={job.rpartition('/')[2]}",
    ]  # fmt: skip
    return {path: await visit.page(path) for path in paths}


async def test_every_page_is_built_for_screen_readers_and_keyboards(visit: Visit) -> None:
    for path, page in (await every_page(visit)).items():
        assert [len(page.all(tag)) for tag in ("h1", "main", "footer")] == [1, 1, 1], path
        assert len({each["aria-label"] for each in page.all("nav")}) == len(page.all("nav")) >= 1, path
        assert page.all("html") == [{"lang": "en"}]
        assert page.all("title")
        assert (page.all("a")[0]["href"], page.all("main")[0]["id"]) == ("#main", "main"), path
        assert all(each.get("scope") in ("col", "row") for each in page.all("th")), path
        named = {each["for"] for each in page.all("label")}
        for tag in ("input", "select", "textarea"):
            for field in page.all(tag):
                hidden = field.get("type") == "hidden"
                assert hidden or field.get("id") in named or "aria-label" in field, (path, field)
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        for _, attributes in page.elements:
            assert attributes.get("tabindex") in (None, "0", "-1"), path
            assert set(attributes.get("aria-labelledby", "").split()) <= set(ids), path


async def test_no_page_has_script_or_style_in_it_or_loads_anything_from_elsewhere(visit: Visit) -> None:
    for path, page in (await every_page(visit)).items():
        for tag, attributes in page.elements:
            assert tag not in ("style", "iframe", "object", "embed", "base"), path
            assert not [name for name in attributes if name.startswith("on") or name == "style"], path
            for name in ("href", "src", "action", "formaction"):
                address = attributes.get(name, "/")
                assert address.startswith(("/", "#", "data:,", "api/")), (path, address)
                assert not address.startswith("//"), (path, address)
        (script,) = page.all("script")
        assert (script["type"], script["src"].partition("?")[0]) == (
            "module", f"{PREFIX}/assets/console.js",
        )  # fmt: skip


async def test_every_link_of_every_page_leads_somewhere(visit: Visit) -> None:
    pages = await every_page(visit)
    links = {link for page in pages.values() for link in page.links() if link.startswith("/")}
    assert len(links) > 30
    for link in sorted(links):
        answer = await visit.browser.get(link)
        assert answer.status_code in (200, 409), link


async def test_where_there_is_nothing_a_page_says_what_to_do() -> None:
    async with visited() as visit:
        since = re.compile(r"nothing has failed for good since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
        for path in ("/dead-letters", "/dead-letters/list"):
            text = (await visit.page(path)).text
            assert since.search(text), text
            assert "Nothing needs to be done" in text
        assert "No letter matches this filter" in (await visit.page("/dead-letters?topic=x")).text
        assert "Begin with the dead letters" in (await visit.page("/jobs")).text
        assert "What is published to it appears here" in (
            await visit.page("/tail?topic=convex.payments")
        ).text  # fmt: skip
        assert "Nothing is counted yet" in (await visit.page("")).text


async def test_numbers_say_since_when_and_of_which_process(visit: Visit) -> None:
    instance = (await visit.get("/api/health")).json()["instance"]
    for path in ("", "/subscriptions"):
        text = (await visit.page(path)).text
        assert instance in text
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text), path


def test_every_word_of_the_closed_lists_has_a_sentence_and_what_to_do() -> None:
    assert set(REASONS) == verdicts.REASONS
    assert set(STATUSES) == set(verdicts.STATUSES)
    assert set(wording.STATES) == set(get_args(LetterState))
    assert set(wording.VERDICTS) == set(get_args(Verdict))
    assert set(wording.JOBS) == set(get_args(JobStatus))
    assert set(wording.NOT_REPLAYED) == set(get_args(NotReplayed))
    for said in REASONS.values():
        assert said.means.endswith(".")
        assert said.do.endswith((".", "?"))


async def test_a_page_that_has_not_changed_is_not_sent_again(visit: Visit) -> None:
    for path in ("", "/dead-letters", "/settings", "/api/health", "/assets/console.css"):
        first = await visit.get(path)
        again = await visit.get(path, **{"if-none-match": f'"x", {first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == first.headers["etag"]
    assert (await visit.get("", **{"if-none-match": '"other"'})).status_code == 200


async def test_addresses_hold_behind_a_proxy_that_takes_a_part_of_the_path_away(visit: Visit) -> None:
    for path in ("", "/dead-letters", "/jobs"):
        scope_path = PREFIX + path
        transport = visit.browser._transport
        assert hasattr(transport, "root_path")
        transport.root_path = "/ops/shop"
        try:
            page = Page((await visit.browser.get(scope_path)).text)
        finally:
            transport.root_path = ""
        inside = [link for link in page.links() if not link.startswith("#")]
        assert inside
        assert all(link.startswith(f"/ops/shop{PREFIX}") for link in inside), path


async def test_a_slash_at_the_end_leads_to_the_page_and_to_no_other_host(visit: Visit) -> None:
    answer = await visit.get("/", host="evil.example")
    assert (answer.status_code, answer.headers["location"]) == (307, PREFIX)


async def test_a_letter_of_second_failure_and_its_first_lead_to_each_other(visit: Visit) -> None:
    await every_page(visit)
    failed = [
        each
        for each in (await visit.get("/api/dead-letters?state=all")).json()["letters"]
        if each["state"] == "failed_again"
    ]
    (first,) = failed
    page = await visit.page(f"/dead-letters/{first['id']}")
    assert f"{PREFIX}/dead-letters/{first['failed_as']}" in page.links()
    second = await visit.page(f"/dead-letters/{first['failed_as']}")
    assert f"{PREFIX}/dead-letters/{first['id']}" in second.links()


@pytest.mark.parametrize("name", sorted(SITUATIONS))
async def test_whatever_is_so_is_told_in_sentences_on_the_first_page(name: str) -> None:
    app = app_with(ScriptedBus(SITUATIONS[name].status))
    async with calling(app) as browser:
        page = Page((await browser.get(PREFIX)).text)
        verdict = verdicts.ready(SITUATIONS[name].status)
        assert STATUSES[verdict.status] in page.text
        for word in verdict.reasons:
            assert letters_of(REASONS[word].means) in letters_of(page.text)
            assert letters_of(REASONS[word].do) in letters_of(page.text)
        assert (await browser.get(f"{PREFIX}/subscriptions")).status_code == 200
        outboxes = await browser.get(f"{PREFIX}/outboxes")
        assert outboxes.status_code == 200
        told = (await browser.get(f"{PREFIX}/api/outboxes")).json()["outboxes"]
        assert [each["name"] for each in told] == [each.name for each in SITUATIONS[name].status.outboxes]
        health = (await browser.get(f"{PREFIX}/api/health")).json()
        assert [each["word"] for each in health["reasons"]] == list(verdict.reasons)
        assert (await browser.get(f"{PREFIX}/api/subscriptions")).status_code == 200


def letters_of(text: str) -> str:
    """Without blanks, and the marks of what a page shows as code."""
    return re.sub(r"[`\s]", "", text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "1,200 The oldest, for"),
        ({"pending": 10_001}, "over 10,000"),
        ({"pending": None, "oldest_seconds": None, "parked": None, "relays": None}, "not known yet"),
        ({"relays": 0, "relay": False}, "No process publishes what an outbox holds"),
        ({"held": (("bets<b>", "no such\u202e topic"),)}, "no such\\u202e topic"),
        ({"parked": 3}, "Parked messages need a person"),
        ({"database": "OperationalError"}, "does not answer (OperationalError)"),
        ({"refused": "it is AUTOCOMMIT"}, "Its database cannot be used: it is AUTOCOMMIT"),
        ({"repeats_possible": 2}, "Up to 2 messages may be published again"),
    ],
    ids=str,
)
async def test_an_outbox_says_what_waits_and_what_holds_it_up(changes: dict[str, Any], said: str) -> None:
    status = with_outbox(**{"pending": 1_200, "oldest_seconds": 4.0, "relays": 2} | changes)
    async with calling(app_with(ScriptedBus(status))) as browser:
        page = Page((await browser.get(f"{PREFIX}/outboxes")).text)
        assert said in page.text
        assert not page.all("b")
        (told,) = (await browser.get(f"{PREFIX}/api/outboxes")).json()["outboxes"]
        assert told["parked"] == changes.get("parked", told["parked"])
