"""What is asked of the cluster ends in time, and is bounded, however long it would take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from convex_messaging_fastapi.console.course import Course
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.security import Callers, Refused, Tokens
from convex_messaging_fastapi.console.troubles import Away
from convex_messaging_fastapi.errors import LetterNotFound, LettersUnavailable
from convex_messaging_fastapi.status import BusStatus, Phase
from convex_messaging_fastapi.verdicts import REASONS
from tests.plugin.calls import ScriptedBus
from tests.support import snapshots


def desk(status: BusStatus | None = None, most: int = 2) -> Desk:
    running = status or BusStatus(Phase.RUNNING, None, (), ())
    return Desk(ScriptedBus(running), Course(), Tokens(lambda: None), callers=Callers(most))


class Work:
    """Something that takes until it is released, or given up."""

    def __init__(self) -> None:
        self.released, self.given_up = asyncio.Event(), False

    async def __call__(self) -> str:
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.given_up = True
            raise
        return "done"


async def refusal(desk: Desk, work: Any, **how: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        await desk.asked(work, 0.001, **how)
    return refused.value


async def test_what_takes_too_long_is_given_up_and_its_place_is_free_again() -> None:
    at, work = desk(most=1), Work()
    refused = await refusal(at, work())
    assert (refused.status, refused.retry_after) == (429, 2)
    assert "Mean fewer by a filter" in refused.help
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert work.given_up
    released = Work()
    released.released.set()
    assert await at.asked(released(), 5) == "done"


async def test_what_is_shared_goes_on_and_holds_its_place_until_it_has_ended() -> None:
    at, work = desk(most=1), Work()
    refused = await refusal(at, work(), is_shared=True)
    assert "the reading goes on meanwhile" in refused.help
    assert (await refusal(at, Work()(), is_shared=True)).title == "Too many are looking at once."
    work.released.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not work.given_up
    released = Work()
    released.released.set()
    assert await at.asked(released(), 5) == "done"


async def test_whoever_leaves_gives_up_what_was_asked() -> None:
    at, work = desk(), Work()
    asking = asyncio.ensure_future(at.asked(work(), 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert work.given_up


@pytest.mark.parametrize("name", sorted(snapshots.SITUATIONS))
async def test_no_answer_in_time_of_a_cluster_that_is_away_is_told_by_a_word(name: str) -> None:
    status = snapshots.SITUATIONS[name].status
    refused = await refusal(desk(status), Work()())
    assert (refused.status == 503) is isinstance(refused, Away)
    if isinstance(refused, Away):
        assert refused.reason in REASONS


async def test_errors_are_told_with_their_own_status() -> None:
    async def failing(error: Exception) -> None:
        raise error

    missing = await refusal(desk(), failing(LetterNotFound("there is no dead letter 9/9")))
    assert (missing.status, missing.help) == (404, "there is no dead letter 9/9")
    away = await refusal(desk(), failing(LettersUnavailable("dead letters cannot be read: nobody answers")))
    assert isinstance(away, Away)
    assert (away.status, away.reason) == (503, "broker_unreachable")
    with pytest.raises(ZeroDivisionError):
        await desk().asked(failing(ZeroDivisionError()), 1)
