"""Every action says before what it would do and to how many, does exactly that, and says so after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from convex_messaging_fastapi.operations import Filter, Job, Operations
from convex_messaging_fastapi.operations.replaying.jobs import record_of_job
from convex_messaging_fastapi.records import TopicPartition
from tests.console.support import HANDLER, PREFIX, SAME_SITE, Visit, visited

ONE = f"?group=shop&subscription={HANDLER}"


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    async with visited() as visit:
        yield visit


async def letters(visit: Visit, state: str = "open") -> list[dict[str, object]]:
    visit.bench.clock.advance(10)
    found: list[dict[str, object]] = (await visit.get(f"/api/dead-letters?state={state}")).json()["letters"]
    return found


async def test_a_failed_payment_is_found_mended_replayed_and_its_history_says_who(visit: Visit) -> None:
    await visit.fail(7)
    group = (await visit.get("/api/dead-letters")).json()["groups"][0]
    assert "Reject" in (await visit.page("/dead-letters")).text
    ((letter),) = await letters(visit)
    assert "card refused for 7" in (await visit.page(f"/dead-letters/group/{group['id']}")).text
    assert '"Amount": 7' in (await visit.page(f"/dead-letters/{letter['id']}")).text

    visit.deployed.refuses = False
    assert "1 would be accepted" in (await visit.page(f"/dead-letters/validate?ids={letter['id']}")).text
    before = await visit.page(f"/dead-letters/replay?anyway=yes&ids={letter['id']}")
    assert "Replay 1 letter?" in before.text
    pressed = await visit.press(f"/dead-letters/replay?anyway=yes&ids={letter['id']}")
    assert pressed.status_code == 303
    await visit.bench.settle()

    after = (await visit.browser.get(pressed.headers["location"])).text
    assert "It is done" in after
    assert "1 of 1 letter" in after
    assert visit.deployed.taken == [7]
    assert await letters(visit) == []
    page = (await visit.page(f"/dead-letters/{letter['id']}")).text
    assert "replayed ada" in page
    assert f"{PREFIX}/jobs/" in "".join((await visit.page(f"/dead-letters/{letter['id']}")).links())


async def test_a_discard_says_how_many_wants_a_reason_and_can_be_undone(visit: Visit) -> None:
    await visit.fail(1, 2, 3)
    asked = await visit.page("/dead-letters/discard?handler=take_payment")
    assert "Discard 3 letters?" in asked.text
    assert "handler = take_payment" in asked.text
    without = await visit.press("/dead-letters/discard?handler=take_payment")
    assert (without.status_code, len(await letters(visit))) == (400, 3)

    pressed = await visit.press("/dead-letters/discard?handler=take_payment", reason="a load test")
    assert "3 of 3 letters" in (await visit.browser.get(pressed.headers["location"])).text
    assert await letters(visit) == []
    discarded = await letters(visit, "discarded")
    history = discarded[0]["history"]
    assert isinstance(history, list)
    assert (history[-1]["by"], history[-1]["reason"]) == ("ada", "a load test")

    again = await visit.press(f"/dead-letters/reopen?ids={discarded[0]['id']}&ids={discarded[1]['id']}")
    assert again.status_code == 303
    assert len(await letters(visit)) == 2


async def test_what_came_after_the_page_was_drawn_is_left_alone(visit: Visit) -> None:
    await visit.fail(1)
    form = (await visit.page("/dead-letters/discard")).form("post")
    await visit.fail(2)
    answer = await visit.browser.post(form.action, data={**form.fields, "reason": "x"}, headers=SAME_SITE)
    assert answer.status_code == 409
    assert "2 letters match by now, and 1 were shown" in answer.text
    assert len(await letters(visit)) == 2


async def test_a_button_that_is_pressed_twice_does_it_once(visit: Visit) -> None:
    await visit.fail(1)
    form = (await visit.page("/dead-letters/replay?anyway=yes")).form("post")

    async def press() -> str:
        answer = await visit.browser.post(form.action, data=form.fields, headers=SAME_SITE)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    assert len({*await asyncio.gather(press(), press()), await press()}) == 1
    assert len((await visit.get("/api/jobs")).json()["jobs"]) == 1


async def test_a_handler_is_paused_and_resumed_and_the_page_says_by_whom_and_why(visit: Visit) -> None:
    asked = await visit.page(f"/subscriptions/pause{ONE}")
    assert f"1 handler, {HANDLER} of group shop, would begin nothing new in all processes" in asked.text
    pressed = await visit.press(f"/subscriptions/pause{ONE}", reason="the bank is away")
    assert pressed.headers["location"] == f"{PREFIX}/subscriptions?done=paused"
    visit.bench.clock.advance(6)
    await visit.bench.settle()
    page = (await visit.page("/subscriptions?done=paused")).text
    assert "It is paused: all processes" in page
    assert "paused by ada" in page
    assert "the bank is away" in page
    assert "paused" in (await visit.page("")).text

    asked = await visit.page(f"/subscriptions/resume{ONE}")
    assert "It was paused by ada: the bank is away" in asked.text
    await visit.press(f"/subscriptions/resume{ONE}")
    visit.bench.clock.advance(6)
    await visit.bench.settle()
    assert "paused by" not in (await visit.page("/subscriptions")).text


async def test_in_this_process_alone_it_is_paused_at_once(visit: Visit) -> None:
    pressed = await visit.press(f"/subscriptions/pause{ONE}&scope=process")
    assert pressed.headers["location"].endswith("done=paused_here")
    assert "in this process alone" in (await visit.page("/subscriptions")).text


async def test_a_replay_that_would_be_refused_says_why_and_what_may_be_chosen(visit: Visit) -> None:
    await visit.fail(1)
    page = await visit.page("/dead-letters/replay?to=topic")
    assert "all who read those see them again" in page.text
    assert "convex.payments" in page.text
    for path, why in (
        ("?rate=0", "more than 0"),
        ("?rate=x", "a whole number"),
        ("?to=moon", "to the handler, or to the topic"),
        ("?state=moon", "Filter.state"),
        ("?since=yesterday", "a time such as"),
        ("?ids=x", "Filter.ids"),
    ):
        answer = await visit.get(f"/dead-letters/replay{path}")
        assert (answer.status_code, why in answer.text) == (400, True), path


async def test_a_job_is_stopped_from_another_process_and_the_page_says_what_is_left(visit: Visit) -> None:
    await visit.fail(1)
    job = await a_job_of_another(visit, seconds_ago=1)
    asked = await visit.page(f"/jobs/stop?id={job.id}")
    assert "40 of 100 letters are done, and stay so" in asked.text
    assert "60 would be left as they are" in asked.text
    pressed = await visit.press(f"/jobs/stop?id={job.id}")
    assert pressed.status_code == 303
    assert "stopped by ada" in (await visit.browser.get(pressed.headers["location"])).text


async def test_of_a_job_whose_process_was_killed_the_page_says_to_run_it_again(visit: Visit) -> None:
    await visit.fail(1)
    job = await a_job_of_another(visit, seconds_ago=60)
    page = await visit.page(f"/jobs/{job.id}")
    assert "Its process has said nothing for ten seconds" in page.text
    assert "Run it again: what it has done stays done" in page.text
    (again,) = [link for link in page.links() if "/dead-letters/replay" in link]
    assert again == f"{PREFIX}/dead-letters/replay?handler={HANDLER}&rate=50"
    assert "Replay 1 letter?" in (await visit.browser.get(f"{again}&anyway=yes")).text


async def a_job_of_another(visit: Visit, *, seconds_ago: float) -> Job:
    """Which somebody else's process has written into the topic of states."""
    now = visit.bench.clock.unix()
    at = datetime.fromtimestamp(now - seconds_ago, UTC)
    job = Job(
        id="0192aaaa-bbbb",
        kind="replay",
        status="running",
        by="eve",
        host="pod-2",
        started_at=at,
        at=at,
        filter={"handler": HANDLER},
        groups=("shop",),
        selected=100,
        done=40,
        rate=50.0,
    )
    operations: Operations = visit.bus.operations
    page = await operations.dead_letters()
    await operations.discard(
        Filter(ids=(page.letters[0].id,)), by="x", reason="makes the topic", dry_run=False
    )
    await operations.reopen([page.letters[0].id], by="x")
    visit.bench.broker.append(TopicPartition("convex.dlq.state", 0), [record_of_job(job)])
    visit.bench.clock.advance(10 if seconds_ago > 10 else 0)
    return job
