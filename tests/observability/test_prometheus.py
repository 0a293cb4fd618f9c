"""The metrics of a bus: what they count, that no name has endless series, and what they cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from convex_messaging_fastapi import (
    Batch,
    ConfigurationError,
    Discard,
    MessageBus,
    Observer,
    Prometheus,
    PublishFailed,
    Record,
    Reject,
    Retry,
)
from convex_messaging_fastapi.errors import PublishManyError, PublishUnknown
from convex_messaging_fastapi.events import AttemptEnded, AttemptOutcome, Buried
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.observability.metrics import METRICS, PREFIX
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import utc
from convex_messaging_fastapi.transport.memory.consumer import MemoryConsumer
from convex_messaging_fastapi.verdicts import STATUSES
from tests.bus.support import Bet, memory_bus
from tests.observability.scraping import of, scrape, scrape_openmetrics

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics.txt"
TWICE = Retry(attempts=2, delay_seconds=5, jitter=0)
RECEIPT = Receipt("t", 0, 0, utc(0))
TRACE = "0af7651916cd43dd8448eb211c80319c"


def written() -> str:
    """Every metric, as the golden file has them."""
    ending = {"counter": "_total", "gauge": "", "histogram": ""}
    lines = [
        f"{each.kind} {PREFIX}{each.name}{ending[each.kind]}{{{','.join(each.labels)}}} {each.help}"
        for each in METRICS.values()
    ]
    return "".join(f"{line}\n" for line in sorted(lines))


def test_every_name_and_label_is_the_one_on_file() -> None:
    """Dashboards and alerts name these. After a wanted change put what is written on file."""
    assert written() == GOLDEN.read_text()


async def test_what_a_bus_does_is_counted() -> None:
    registry = CollectorRegistry()
    bus = memory_bus(observers=[Prometheus(registry)])

    @bus.subscriber("bet", id="pay", retry=TWICE)
    async def pay(bet: Bet) -> None:
        if bet.player != "ada":
            raise {"fails": ValueError, "rejects": Reject, "discards": Discard}[bet.player](bet.player)

    @bus.subscriber("bet", id="count", group="counts", batch=Batch(max_records=4, max_wait_seconds=1))
    async def count(bets: list[Bet]) -> None: ...

    async with bus.test() as t:
        for player in ("ada", "fails", "rejects", "discards"):
            await bus.publish("bet", Bet(bet_id=1, player=player))
        await t.settle()
        samples = scrape(registry)
    assert of(samples, "published_total") == {("convex.bet", "written"): 4}
    assert of(samples, "publish_duration_seconds_count") == {(): 4}
    assert of(samples, "attempts_total") == {
        ("bets", "pay", "handled"): 1,
        ("bets", "pay", "failed"): 2,
        ("bets", "pay", "rejected"): 1,
        ("bets", "pay", "discarded"): 1,
        ("counts", "count", "handled"): of(samples, "attempts_total")["counts", "count", "handled"],
    }
    assert of(samples, "handled_total") == {("bets", "pay"): 1, ("counts", "count"): 4}
    assert of(samples, "handler_duration_seconds_count")["bets", "pay"] == 5
    assert of(samples, "retries_total") == {("bets", "pay"): 1}
    assert of(samples, "dead_letters_total") == {
        ("bets", "pay", "ValueError"): 1,
        ("bets", "pay", "convex_messaging_fastapi.errors.Reject"): 1,
    }
    assert of(samples, "rebalances_total") == {("bets",): 1, ("counts",): 1}
    assert of(samples, "up") == {("up",): 1}
    assert of(samples, "ready") == {(): 1}
    assert {sample.labels["status"] for sample in samples if sample.name == f"{PREFIX}up"} == set(STATUSES)


async def test_what_is_under_way_is_shown() -> None:
    registry, going_on = CollectorRegistry(), asyncio.Event()
    bus = memory_bus(observers=[Prometheus(registry)])

    @bus.subscriber("bet", id="pay", concurrency=1)
    async def pay(bet: Bet) -> None:
        if not going_on.is_set():
            begun.set()
            await going_on.wait()

    begun = asyncio.Event()
    async with bus.test() as t:
        await bus.publish_many("bet", [Bet(bet_id=n) for n in range(3)])
        await begun.wait()
        samples = scrape(registry)
        assert of(samples, "in_flight") == {("bets", "pay"): 1}
        assert of(samples, "concurrency") == {("bets", "pay"): 1}
        assert of(samples, "waiting") == {("bets", "pay"): 2}
        assert of(samples, "buffered_bytes")["bets",] > 0
        going_on.set()
        await t.settle()
        assert not of(scrape(registry), "in_flight")


async def test_a_scrape_asks_no_broker_and_has_its_lag_asked_for_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred partitions and 25 subscriptions: a scrape takes no request, and is one question in 5 s."""
    asked = list[int]()
    ends = MemoryConsumer.ends

    async def counted(self: MemoryConsumer, wanted: Any) -> Any:
        asked.append(len(wanted))
        return await ends(self, wanted)

    monkeypatch.setattr(MemoryConsumer, "ends", counted)
    registry = CollectorRegistry()
    bus = memory_bus(observers=[Prometheus(registry)])
    for n in range(25):
        bus.subscriber(f"bet-{n}", id=f"pay-{n}")(_pays)
    async with bus.test() as t:
        for n in range(25):
            await bus.publish_many(f"bet-{n}", [Bet(bet_id=n) for n in range(2)])
        await t.settle()
        assert len(of(scrape(registry), "handled_total")) == 25
        before = len(asked)
        samples = [scrape(registry) for _ in range(10)]
        assert len(asked) == before
        assert not [sample for sample in samples[-1] if sample.name == f"{PREFIX}lag"]
        await t.advance(1)
        places = [sample for sample in scrape(registry) if sample.name == f"{PREFIX}lag"]
        assert len(places) == 100
        assert 100 in asked
        assert sum(of(scrape(registry), "lag").values()) == 50  # nothing is committed yet
        assert not of(scrape(registry), "unfinished")
        await t.advance(120)
        asked_by_then = asked.count(100)
        await t.advance(60)
        assert asked.count(100) == asked_by_then  # nobody has scraped for a minute


async def _pays(bet: Bet) -> None: ...


# What a publish ended with, and how it is counted.
ENDS: list[tuple[Sequence[Receipt], BaseException | None, dict[str, int]]] = [
    ([RECEIPT], None, {"written": 1}),
    ([RECEIPT] * 3, None, {"written": 3}),
    ([], PublishFailed("no"), {"failed": 1}),
    ([], ValueError("in a key function"), {"failed": 1}),
    ([], PublishUnknown("?"), {"unknown": 1}),
    ([], asyncio.CancelledError(), {"unknown": 1}),
    (
        [],
        PublishManyError(
            [RECEIPT, None, None, None],
            {1: PublishFailed("no"), 2: PublishFailed("no")},
            {3: PublishUnknown("?")},
        ),
        {"written": 1, "failed": 2, "unknown": 1},
    ),
]


@pytest.mark.parametrize(("receipts", "error", "counted"), ENDS)
async def test_each_end_of_a_publish_is_counted_as_what_it_is(
    receipts: Sequence[Receipt], error: BaseException | None, counted: dict[str, int]
) -> None:
    registry = CollectorRegistry()
    metrics = Prometheus(registry)
    async with memory_bus(observers=[metrics]).test():
        metrics.publishing("bet", "publish")(receipts, error)
        samples = scrape(registry)
    assert of(samples, "published_total") == {("bet", outcome): n for outcome, n in counted.items()}


# -- names that others choose ---------------------------------------------------------------------

NAMES = [
    "\ud800",
    'quo"te',
    "new\nline",
    "\\",
    "",
    "x" * 10_000,
    "é" * 200,
    "{le='1'}",
    "\x00\x1b[31m",
    "other",
]
"""What an exception's class, or a letter, may be called."""


def buried(kind: str, group: str = "bets", handler: str | None = "pay") -> Buried:
    failure = Failure(kind, "no", "", 1, group, handler)
    return Buried(Record("bet", 0, 0, 0, None, b""), failure, RECEIPT, 0)


async def test_the_number_of_series_is_bounded_whatever_names_there_are() -> None:
    """A thousand topics, types of error, handlers and groups that letters name, and as many odd ones."""
    registry = CollectorRegistry()
    metrics = Prometheus(registry)
    bus = memory_bus(observers=[metrics])

    @bus.subscriber("bet", id="pay")
    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1))
        await t.settle()
        for n in range(1000):
            name = NAMES[n % len(NAMES)] + (str(n) if n >= len(NAMES) else "")
            metrics.publishing(name, "publish")([RECEIPT], None)
            metrics.publishing(name, "publish")([], PublishFailed("no"))
            metrics.buried(buried(name))
            metrics.buried(buried(name, handler=name))
            metrics.buried(buried(name, handler=None))
        samples = scrape(registry)
        assert scrape_openmetrics(registry)
        owned = len(bus.status().workers[0].partitions)
    assert sum(of(samples, "published_total").values()) == 2001
    assert sum(of(samples, "dead_letters_total").values()) == 3000
    assert {labels[1] for labels in of(samples, "dead_letters_total")} == {"pay", "other"}
    assert len(samples) <= 400 + 60 * (1 + 1) + 8 * owned


async def test_handlers_that_have_left_are_shown_no_more() -> None:
    registry = CollectorRegistry()
    bus = memory_bus(observers=[Prometheus(registry)])

    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        id = await bus.subscribe("bet", pay, id="pay")
        await bus.publish("bet", Bet(bet_id=1))
        await t.settle()
        assert of(scrape(registry), "attempts_total")
        await bus.unsubscribe(id)
        assert not of(scrape(registry), "attempts_total")


# -- where they are shown -------------------------------------------------------------------------


async def test_the_registry_that_everything_shows_has_them_while_a_bus_runs() -> None:
    bus = memory_bus(observers=[Prometheus()])
    async with bus.test():
        assert f"{PREFIX}ready 1.0" in generate_latest(REGISTRY).decode()
    assert PREFIX not in generate_latest(REGISTRY).decode()
    async with bus.test():
        assert f"{PREFIX}ready 1.0" in generate_latest(REGISTRY).decode()


async def test_two_buses_share_one_and_are_refused_two_in_one_registry() -> None:
    registry = CollectorRegistry()
    both = Prometheus(registry)
    async with memory_bus(observers=[both]).test(), memory_bus(observers=[both]).test():
        assert of(scrape(registry), "up") == {("up",): 2}
        with pytest.raises(ConfigurationError, match="one and the same"):
            async with memory_bus(observers=[Prometheus(registry)]).test():
                raise AssertionError
        assert of(scrape(registry), "up") == {("up",): 2}
    assert not scrape(registry)


async def test_a_scrape_in_another_thread_is_as_good() -> None:
    registry = CollectorRegistry()
    async with memory_bus(observers=[Prometheus(registry)]).test():
        assert of(await asyncio.to_thread(scrape, registry), "up") == {("up",): 1}


@pytest.mark.parametrize("seconds", [0, -1, 0.5, float("nan")])
def test_a_scan_that_would_never_end_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="scan_dead_letters_seconds"):
        Prometheus(CollectorRegistry(), scan_dead_letters_seconds=seconds)


async def test_open_dead_letters_are_counted_where_that_is_asked_for() -> None:
    registry = CollectorRegistry()
    bus = memory_bus(observers=[Prometheus(registry, scan_dead_letters_seconds=30)])

    @bus.subscriber("bet", id="pay")
    async def pay(bet: Bet) -> None:
        raise Reject("no")

    async with bus.test() as t:
        await bus.publish_many("bet", [Bet(bet_id=n) for n in range(3)])
        await t.settle()
        assert not of(scrape(registry), "dead_letters_open")
        await t.advance(31)
        samples = scrape(registry)
    assert of(samples, "dead_letters_open") == {("bets",): 3}


async def test_a_bucket_shows_a_trace_that_fell_into_it() -> None:
    """The formats differ: only OpenMetrics has a place for it."""
    registry = CollectorRegistry()
    bus = memory_bus(observers=[Prometheus(registry)])

    @bus.subscriber("bet", id="pay")
    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1), headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
        await t.settle()
        samples = scrape_openmetrics(registry)
    exemplars = [each.exemplar for each in samples if each.exemplar and "handler" in each.name]
    assert [exemplar.labels for exemplar in exemplars] == [{"trace_id": TRACE}]


@pytest.mark.parametrize("flags", ["00", "02"])
async def test_a_trace_that_was_not_sampled_is_not_shown(flags: str) -> None:
    registry = CollectorRegistry()
    metrics = Prometheus(registry)
    headers = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-{flags}".encode()),)
    record = Record("bet", 0, 0, 0, None, b"", headers)
    async with memory_bus(observers=[metrics]).test():
        metrics.handling("bets", "pay", [record], 1)("handled", None)
        assert not [each for each in scrape_openmetrics(registry) if each.exemplar]


# -- what they cost -------------------------------------------------------------------------------


class Bare(Observer):
    """A counter and two looks at a clock: nothing that measures can do with less."""

    def __init__(self) -> None:
        self.count = 0

    def handling(self, group: str, handler: str, records: Sequence[Record], attempt: int) -> AttemptEnded:
        now = time.monotonic
        began = now()

        def ended(outcome: AttemptOutcome, error: BaseException | None) -> None:
            self.took = now() - began
            self.count += 1

        return ended


@pytest.mark.cpu
def test_a_message_costs_at_most_twice_a_bare_counter_and_two_looks_at_a_clock() -> None:
    """Paired in one run, the median of nine."""
    records = (Record("bet", 0, 0, 0, None, b""),)

    def measured(observer: Observer) -> Callable[[], float]:
        begins = Observers([observer]).attempts_of("bets", "pay")
        assert begins is not None

        def seconds() -> float:
            began = time.perf_counter()
            for _ in range(20_000):
                end = begins(records, 1)
                assert end is not None
                end("handled", None)
            return time.perf_counter() - began

        seconds()
        return seconds

    bare, ours = measured(Bare()), measured(Prometheus(CollectorRegistry()))
    ratios = [ours() / bare() for _ in range(9)]
    print(f"\nPrometheus takes {median(ratios):.2f} times a bare counter and two looks at a clock")  # noqa: T201
    assert median(ratios) <= 2


async def test_without_observers_nothing_of_this_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    bus: MessageBus = memory_bus()
    async with bus.test():
        assert Observers().attempts_of("bets", "pay") is None
