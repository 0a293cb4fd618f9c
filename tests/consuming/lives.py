"""A worker's life at random: a log that stays, a group that takes partitions away, handlers of every kind.

Everything follows from one seed. What a life has met is counted; what it must not do raises `Broken`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from convex_messaging_fastapi import clock as clocks
from convex_messaging_fastapi.clock import ManualClock, time_limit
from convex_messaging_fastapi.consuming.offset_metadata import Range, decode, encode
from convex_messaging_fastapi.errors import BatchFailed, Discard, PublishFailed, Reject, RetryAfter
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.policies import Retry
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Delivery, Lease, Record, TopicPartition, utc
from convex_messaging_fastapi.transport.base import (
    ENOUGH_RECORDS,
    AssignmentListener,
    CommitOutcome,
    Contact,
    Fetched,
    Position,
    Unreadable,
)

STAYING = ("by key", "in batches")
"""Handlers of the first topic, for as long as the worker lives."""

GUEST = "guest"
"""A handler that comes and goes, of the first topic, the second or both."""

TOPICS = ("convex.bets", "convex.users")
PARTITIONS = [TopicPartition(topic, n) for topic in TOPICS for n in range(2)]
RETRY = Retry(attempts=3, delay_seconds=1, jitter=0)

Place = tuple[TopicPartition, int]


class Broken(AssertionError):
    """A promise was broken."""


class Panic(BaseException):
    """As libraries in Rust raise it."""


@dataclass
class World:
    """What outlives an assignment: the logs, what the group has committed, and what was really finished."""

    random: Random
    clock: ManualClock
    met: Counter[str]
    logs: dict[TopicPartition, list[Record]] = field(
        default_factory=lambda: {where: [] for where in PARTITIONS}
    )
    stored: dict[TopicPartition, Position] = field(default_factory=dict)
    finished: dict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))
    is_kind: bool = False
    all_outlive: bool = False
    hopeless: bytes | None = None
    hangs: bool = False
    is_away: bool = False
    """What all handlers need."""
    has_breakers: bool = False
    letters_fail: bool = False
    commits_fail: float = 0.2
    news: asyncio.Event = field(default_factory=asyncio.Event)
    broken: list[str] = field(default_factory=list)

    async def wait(self, seconds: float) -> None:
        """On the clock that is turned by hand."""
        await clocks.sleep(self.clock, seconds)

    def note_broken(self, what: str) -> None:
        """A handler that raised it would only have failed, so it is looked at elsewhere too."""
        self.broken.append(what)

    def append(self, where: TopicPartition, count: int, key: bytes | None = None) -> None:
        """With gaps, as transactions and compaction leave them."""
        log = self.logs[where]
        offset = log[-1].offset + 1 if log else 0
        now_ms = int(self.clock.unix() * 1000)
        for _ in range(count):
            offset += self.random.choice((0, 0, 0, 1, 3))
            chosen = key if key is not None else self.random.choice((b"a", b"b", b"c", None))
            value = b"?" if not self.is_kind and self.random.random() < 0.03 else b"%d" % offset
            log.append(Record(*where, offset, now_ms, chosen, value))
            offset += 1
        self.news.set()

    def end(self, where: TopicPartition) -> int:
        log = self.logs[where]
        return log[-1].offset + 1 if log else 0

    def must_finish(self, where: TopicPartition) -> tuple[str, ...]:
        return STAYING if where.topic == TOPICS[0] else (GUEST,)

    def is_finished(self, where: TopicPartition, offset: int) -> bool:
        return all((where, offset) in self.finished[who] for who in self.must_finish(where))

    def finish(self, who: str, places: Iterable[Place]) -> None:
        self.finished[who].update(places)

    def store(self, offsets: Mapping[TopicPartition, Position]) -> None:
        """Take a commit, if it is true."""
        for where, position in offsets.items():
            known = [Range(0, position.offset), *decode(position.metadata, position.offset).remaining(0)]
            for record in self.logs[where]:
                told = any(start <= record.offset < end for start, end in known)
                if told and not self.is_finished(where, record.offset):
                    self.note_broken(f"{where} {record.offset} is committed ({position}) and is not finished")
            if position.offset < self.stored.get(where, Position(0)).offset:
                self.note_broken(f"{where} goes back to {position} from {self.stored[where]}")
            self.stored[where] = position

    def handle_elsewhere(self, where: TopicPartition) -> None:
        """Another member has the partition for a while: it finishes some, with holes, and commits."""
        start = self.stored.get(where, Position(0)).offset
        behind = [record.offset for record in self.logs[where] if record.offset >= start]
        done = {offset for offset in behind[: self.random.randrange(8)] if self.random.random() < 0.7}
        done |= {offset for offset in behind if self.is_finished(where, offset)}
        for who in (*STAYING, GUEST):
            self.finish(who, ((where, offset) for offset in done))
        committed = next((offset for offset in behind if offset not in done), self.end(where))
        above = [Range(offset, offset + 1) for offset in sorted(done) if offset >= committed]
        text = encode(committed, merged(above), int(self.clock.unix() * 1000))
        self.store({where: Position(max(committed, start), text if committed >= start else "")})

    def left_to_do(self) -> int:
        """Records of the first topic that are not finished and committed."""
        return sum(
            not self.is_finished(where, record.offset)
            or record.offset >= self.stored.get(where, Position(0)).offset
            for where in PARTITIONS
            if where.topic == TOPICS[0]
            for record in self.logs[where]
        )


def merged(ranges: Sequence[Range]) -> list[Range]:
    found: list[Range] = []
    for start, end in ranges:
        if found and found[-1].end == start:
            found[-1] = Range(found[-1].start, end)
        else:
            found.append(Range(start, end))
    return found


class Graves:
    """Implements `DeadLetters`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def bury(self, record: Record, failure: Failure) -> Receipt:
        world = self._world
        await world.wait(world.random.choice((0, 0, 0.1)))
        if world.letters_fail:
            world.met["failed letters"] += 1
            raise PublishFailed("no letter today")
        world.met["letters"] += 1
        assert failure.handler is not None
        world.finish(failure.handler, [(record.topic_partition, record.offset)])
        return Receipt("letters", 0, world.met["letters"], utc(0))


class Membership:
    """Implements `ConsumerTransport`: one consumer, from its start to its stop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.topics: frozenset[str] = frozenset()
        self.state = "made"
        self._listener: AssignmentListener | None = None
        self._epoch = 0
        self._next: dict[TopicPartition, int] = {}

    async def start(
        self, topics: Iterable[str], listener: AssignmentListener, optional: Iterable[str] = ()
    ) -> None:
        self.topics, self._listener, self.state = frozenset(topics), listener, "joining"

    async def ends(self, wanted: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        raise NotImplementedError("no worker asks for them")

    async def stop(self, deadline: float) -> None:
        self.state = "stopped"

    def contact(self) -> Contact:
        return Contact(0.0, member=True)

    def pass_over(self, epoch: int, where: TopicPartition, batch: Unreadable) -> None:
        raise NotImplementedError("whatever is in these logs can be read")

    @property
    def has_all(self) -> bool:
        """Whether no other member of the group has any partition of these topics."""
        return self.state != "held" or all(
            where in self._next for where in PARTITIONS if where.topic in self.topics
        )

    async def fetch(self, wanted: Mapping[TopicPartition, int], wait: float) -> Fetched:
        world = self._world
        if not self._has_any(wanted):
            world.news.clear()
            with suppress(TimeoutError):
                async with time_limit(world.clock, wait):
                    await world.news.wait()
        found: dict[TopicPartition, list[Record]] = {}
        count = 0
        for where, share in wanted.items():
            records = self._take(where, share)
            if records:
                found[where] = records
            count += len(records)
            if count >= ENOUGH_RECORDS:
                break
        return Fetched(self._epoch, found, {where: self._next[where] for where in found})

    def _has_any(self, wanted: Mapping[TopicPartition, int]) -> bool:
        held = self.state == "held"
        return held and any(where in self._next and self._behind(where) for where in wanted)

    def _behind(self, where: TopicPartition) -> list[Record]:
        return [record for record in self._world.logs[where] if record.offset >= self._next[where]]

    def _take(self, where: TopicPartition, share: int) -> list[Record]:
        if self.state != "held" or where not in self._next:
            return []
        records = self._behind(where)[:share]
        if records:
            self._next[where] = records[-1].offset + 1
        return records

    async def commit(
        self, epoch: int, offsets: Mapping[TopicPartition, Position], deadline: float
    ) -> Mapping[TopicPartition, CommitOutcome]:
        world, random = self._world, self._world.random
        await world.wait(random.choice((0, 0, 0.05, 0.5)))
        if epoch != self._epoch or self.state not in ("held", "giving back"):
            world.met["stale commits"] += 1
            return dict.fromkeys(offsets, CommitOutcome.STALE)
        if random.random() < 0.5:  # all of them together
            return dict.fromkeys(offsets, self._stored(offsets))
        return {where: self._stored({where: position}) for where, position in offsets.items()}

    def _stored(self, offsets: Mapping[TopicPartition, Position]) -> CommitOutcome:
        world, random = self._world, self._world.random
        if random.random() >= world.commits_fail:
            world.store(offsets)
            world.met["commits"] += 1
            return CommitOutcome.COMMITTED
        if random.random() < 0.5:
            world.met["failed commits"] += 1
            return random.choice((CommitOutcome.FAILED, CommitOutcome.REFUSED))
        world.met["unknown commits"] += 1
        if random.random() < 0.5:
            world.store(offsets)
        return CommitOutcome.UNKNOWN

    # What the group does.

    def assign(self) -> None:
        assert self._listener is not None
        world = self._world
        self.state = "held"
        self._epoch += 1
        held = {
            where: world.stored.get(where, Position(0))._replace(end=world.end(where))
            for where in PARTITIONS
            if where.topic in self.topics and (world.is_kind or world.random.random() < 0.9)
        }
        self._next = {where: position.offset for where, position in held.items()}
        self._listener.assigned(self._epoch, held)
        world.news.set()
        world.met["assignments"] += 1

    async def take_away(self, deadline: float) -> None:
        """Give back by `deadline`; at once, where that is over."""
        assert self._listener is not None
        world = self._world
        is_lost = deadline <= world.clock.now()
        self.state = "lost" if is_lost else "giving back"
        world.met["lost" if is_lost else "revocations"] += 1
        await self._listener.revoked(self._epoch, deadline)
        held, self._next = list(self._next), {}
        if self.state != "stopped":
            for where in held:
                if world.random.random() < 0.3:
                    world.handle_elsewhere(where)
            self.state = "joining"


@dataclass
class Call:
    """One call of a handler."""

    places: Sequence[Place]
    lease: Lease


class Calls:
    """The handlers of one subscription, and what must hold of the order of their calls."""

    def __init__(self, world: World, who: str, in_batches: bool) -> None:
        self._world = world
        self._who = who
        self._in_batches = in_batches
        self._at_work: dict[object, Call] = {}
        self._seen: dict[tuple[Lease, object], int] = {}
        self._not_before: dict[tuple[Lease, Place], float] = {}

    async def one(self, message: int, delivery: Delivery) -> None:
        await self._call([delivery])

    async def several(self, messages: list[int], deliveries: list[Delivery]) -> None:
        await self._call(deliveries)

    async def _call(self, deliveries: Sequence[Delivery]) -> None:
        record, lease = deliveries[0].record, deliveries[0].lease
        places = [(each.record.topic_partition, each.record.offset) for each in deliveries]
        lane = self._lane_of(record)
        self._begin(lane, Call(places, lease))
        try:
            await self._behave(deliveries, places)
        except (asyncio.CancelledError, RetryAfter):
            raise
        except BaseException:
            self._back_off(lease, places)
            raise
        finally:
            self._at_work.pop(lane, None)
            if lease.revoked:
                self._world.met["ends later than their ownership"] += 1

    def _lane_of(self, record: Record) -> object:
        """What must be handled one after another has one lane."""
        return record.topic_partition, None if self._in_batches else record.key

    def _begin(self, lane: object, call: Call) -> None:
        world = self._world
        world.met["calls"] += 1
        if lane in self._at_work:
            world.note_broken(f"{self._who}: {call.places} beside {self._at_work[lane].places}")
        first = call.places[0][1]
        if self._seen.get((call.lease, lane), -1) > first:
            world.note_broken(f"{self._who}: {call.places} begins after a later one of its order")
        if self._who in STAYING and (earlier := self._unfinished_before(lane, call.places[0])):
            world.note_broken(f"{self._who}: {call.places} begins before {earlier} are finished")
        for place in call.places:
            if world.clock.now() < self._not_before.get((call.lease, place), 0.0) - 1e-6:
                world.note_broken(f"{self._who}: {place} begins again without a back-off")
        self._seen[call.lease, lane] = first
        self._at_work[lane] = call

    def _unfinished_before(self, lane: object, place: Place) -> list[int]:
        where, first = place
        finished = self._world.finished[self._who]
        return [
            record.offset
            for record in self._world.logs[where]
            if record.offset < first
            and self._lane_of(record) == lane
            and (where, record.offset) not in finished
        ]

    def _back_off(self, lease: Lease, places: Sequence[Place]) -> None:
        if self._in_batches or self._world.has_breakers:
            return  # members of a batch whose attempts are spent run alone at once, and so does what was kept
        for place in places:
            self._not_before[lease, place] = self._world.clock.now() + RETRY.delay_seconds

    async def _behave(self, deliveries: Sequence[Delivery], places: Sequence[Place]) -> None:
        world = self._world
        hopeless = world.hopeless is not None and any(
            each.record.key == world.hopeless for each in deliveries
        )
        if hopeless and world.hangs:
            await world.wait(10**6)
        if hopeless:
            raise ValueError("this one never works")
        if world.is_away:
            raise ConnectionError("away")
        if not world.is_kind:
            await self._misbehave(deliveries[0].lease, places)
        world.finish(self._who, places)

    async def _misbehave(self, lease: Lease, places: Sequence[Place]) -> None:
        """Return, at once or later, or raise."""
        world, random = self._world, self._world.random
        kinds = KINDS | IN_BATCHES if self._in_batches else KINDS
        if world.all_outlive:
            kinds = OUTLIVING
        kind = random.choices(list(kinds), list(kinds.values()))[0]
        match kind:
            case "returns":
                return
            case "waits":
                await world.wait(random.uniform(0.01, 1.5))
            case "fails":
                raise random.choice((ValueError("no"), Panic("index out of range"), SystemExit(1)))
            case "fails later":
                await world.wait(random.uniform(0.01, 1.0))
                raise ExceptionGroup("several", [ValueError("no"), Reject("no"), KeyError("no")])
            case "rejects":
                raise Reject("no")
            case "discards":
                world.finish(self._who, places)
                raise Discard("seen")
            case "asks for later":
                raise RetryAfter(random.uniform(0, 3))
            case "does a part":
                done = random.randrange(len(places) + 1)
                world.finish(self._who, places[:done])
                raise BatchFailed(done) if self._in_batches else ValueError("no")
            case "ends its own task":
                await self._end_own_task(lease, places)
            case _:
                await self._outlives(kind)

    async def _end_own_task(self, lease: Lease, places: Sequence[Place]) -> None:
        self._world.met["own tasks ended"] += 1
        task = asyncio.current_task()
        assert task is not None
        self._back_off(lease, places)
        task.cancel()
        await asyncio.sleep(0)

    async def _outlives(self, kind: str) -> None:
        """Wait for as long as it is let, and do something with the cancellation."""
        world, random = self._world, self._world.random
        try:
            await world.wait(random.choice((4, 12)))
        except asyncio.CancelledError:
            world.met["cancelled"] += 1
            if kind == "is cancelled":
                raise
            seconds = random.choice((0.2, 3))
            world.met["ends later than their drain"] += seconds > 0.5
            await world.wait(seconds)
            if kind == "cleans up":
                raise
            if kind == "fails to clean up":
                raise RuntimeError("could not clean up") from None


KINDS = {
    "returns": 45,
    "waits": 20,
    "fails": 6,
    "fails later": 3,
    "rejects": 2,
    "discards": 2,
    "asks for later": 3,
    "does a part": 4,
    "ends its own task": 2,
    "is cancelled": 4,
    "cleans up": 6,
    "fails to clean up": 3,
    "swallows it": 3,
}
"""What a handler does, and how often of a hundred."""

IN_BATCHES = {"returns": 30, "is cancelled": 10, "cleans up": 15}
"""Batches are rarer calls, and their ends no less worth seeing."""

OUTLIVING = {"is cancelled": 1, "cleans up": 3, "fails to clean up": 1, "swallows it": 1}
"""What a handler does whose partition is taken away while it is at work."""
