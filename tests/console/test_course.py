"""What a bus did in the last five minutes is noted while it runs, and costs messages nothing."""

from __future__ import annotations

from convex_messaging_fastapi import Measuring, MessageBus
from convex_messaging_fastapi.console.course import STEP_SECONDS, STEPS, Counts, Course
from convex_messaging_fastapi.observability.watching import observers_of
from tests.console.support import Payment, app_with, shop, visited


async def test_each_step_has_what_was_counted_in_it_and_no_more_are_kept_than_five_minutes() -> None:
    async with visited() as visit:
        visit.deployed.refuses = False
        for amounts in ((1, 2), (), (3,)):
            for amount in amounts:
                await visit.bus.publish("payments", Payment(amount=amount))
            await visit.bench.settle()
            await visit.bench.advance(STEP_SECONDS)
        steps = (await visit.get("/api/course")).json()["steps"]
        assert [step["counted"]["handled"] for step in steps] == [2, 0, 1]
        assert [step["counted"]["published"] for step in steps] == [2, 0, 1]
        page = await visit.page("")
        assert "As a table, every 5 s" in page.text

        for _ in range(STEPS):
            await visit.bench.advance(STEP_SECONDS)
        steps = (await visit.get("/api/course")).json()["steps"]
        assert len(steps) == STEPS
        assert sum(step["counted"]["handled"] for step in steps) == 0


def test_counts_that_left_with_a_handler_are_no_negative_numbers() -> None:
    assert Counts(1, 2, 3, 4).since(Counts(5, 1, 3, 0)) == Counts(0, 1, 0, 4)


def test_nobody_hears_of_messages_for_it() -> None:
    with_it, without = observers_of([Course()], "shop"), observers_of([], "shop")
    assert len(with_it._all) == len(without._all)


def test_a_console_has_its_bus_measured_once_however_many_consoles_there_are() -> None:
    bus, _ = shop()
    app_with(bus)
    app_with(bus)
    assert [type(each) for each in bus._observers] == [Measuring, Course]
    own = MessageBus(observers=[Measuring()])
    app_with(own)
    assert [type(each) for each in own._observers] == [Measuring, Course]


async def test_the_lag_is_asked_for_while_somebody_looks_at_it() -> None:
    async with visited() as visit:
        await visit.fail(1)
        await visit.page("/subscriptions")
        await visit.bench.advance(STEP_SECONDS)
        groups = (await visit.get("/api/subscriptions")).json()["groups"]
        lags = [each["lag"] for each in groups[0]["partitions"]]
        assert None not in lags


async def test_a_second_life_begins_anew() -> None:
    bus, _ = shop()
    app = app_with(bus)
    (course,) = (each for each in bus._observers if isinstance(each, Course))
    for _ in range(2):
        async with bus.test(app) as bench:
            assert course.steps == ()
            await bench.advance(STEP_SECONDS)
            assert len(course.steps) == 1
