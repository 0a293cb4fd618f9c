"""Where the records of one subscription wait: one lane for each order that must be kept.

Pure, and without back-pressure: the worker knows when to stop adding jobs. A lane is busy while its
head is handled, so nothing behind it can start. Ready lanes take turns, one job each, so that no key
or partition starves another.

While one runner alone finishes every job at once, no lanes are needed: jobs are taken in the order
in which they came. They are sorted into lanes when a second runner asks for one, or a job must wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum

from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition, by_ownership
from convex_messaging_fastapi.records import TopicPartition

LaneKey = bytes | int | None


class LaneState(IntEnum):
    IDLE = 0  # its batch is not full yet
    READY = 1
    BUSY = 2
    WAITING = 3  # its head backs off
    DROPPED = 4


# Looked up several times a message, and a member of an enum is slow to look up.
IDLE, READY, BUSY, WAITING, DROPPED = LaneState


class Lane:
    """Jobs that must be handled one after another. `turn` counts how often its head was taken."""

    __slots__ = ("home", "jobs", "key", "state", "turn")

    def __init__(self, home: dict[LaneKey, Lane], key: LaneKey) -> None:
        self.home: dict[LaneKey, Lane] = home
        self.key: LaneKey = key
        self.jobs: deque[Job] = deque()
        self.state: LaneState = IDLE
        self.turn: int = 0


class UnsortedLane(Lane):
    """Stands in for the lane of the one running job; becomes that lane once jobs are sorted."""

    __slots__ = ("job",)

    def __init__(self) -> None:
        super().__init__({}, None)
        self.state = DROPPED
        self.job: Job | None = None


def by_key(job: Job) -> LaneKey:
    """One lane a key; records without a key keep the order of their partition."""
    return job.record.key


def by_key_or_unordered(job: Job) -> LaneKey:
    """One lane a key; records without a key have no order. Keys are bytes, so no offset equals one."""
    key = job.record.key
    return job.offset if key is None else key


def by_partition(job: Job) -> LaneKey:
    return None


def unordered(job: Job) -> LaneKey:
    """Every record in a lane of its own."""
    return job.offset


class Lanes:
    """All lanes of one subscription.

    `batch_size` is how many jobs make a lane ready by themselves (1, or a full batch); a lane that is
    not full becomes ready through `close_batch`.
    """

    def __init__(self, lane_key: Callable[[Job], LaneKey], batch_size: int = 1) -> None:
        self._lane_key = lane_key
        self._batch_size = batch_size
        self._homes: dict[TopicPartition, dict[LaneKey, Lane]] = {}
        self._ready: deque[Lane] = deque()
        self._standing = 0  # lanes in their homes
        self._unsorted: deque[Job] = deque()
        self._unsorted_lane = UnsortedLane()
        self.waiting: int = 0  # jobs that are not being handled
        self.backing_off: int = 0  # lanes whose head backs off

    @property
    def ready(self) -> int:
        """How many lanes have a job that may start now, or had one before they were dropped.

        Each job that is not sorted yet counts as a lane.
        """
        return len(self._ready) + len(self._unsorted)

    @property
    def has_ready(self) -> bool:
        """Whether there is a job that may start now."""
        return bool(self._unsorted) or any(lane.state is READY for lane in self._ready)

    @property
    def number(self) -> int:
        """How many lanes have a job, handled or not. Each job that is not sorted yet counts as a lane."""
        return self._standing + len(self._unsorted) + (self._unsorted_lane.job is not None)

    def add(self, owned: OwnedPartition, jobs: Sequence[Job]) -> list[Lane]:
        """Queue jobs of one partition at the end of their lanes; returns the lanes that began a batch."""
        self.waiting += len(jobs)
        if self._batch_size == 1 and not self._standing:
            self._unsorted.extend(jobs)
            return []
        return self._sort_into(self._home(owned), jobs)

    def sort(self) -> None:
        """Sort waiting jobs into lanes. To be called once a handler is known to wait."""
        lane, unsorted = self._unsorted_lane, self._unsorted
        if lane.job is not None:
            self._unsorted_lane = UnsortedLane()
            lane.home, lane.key = self._home(lane.job.owned), self._lane_key(lane.job)
            lane.job, lane.state = None, BUSY
            self._place(lane)
        self._unsorted = deque()
        for owned, jobs in by_ownership(unsorted):
            self._sort_into(self._home(owned), jobs)

    def _home(self, owned: OwnedPartition) -> dict[LaneKey, Lane]:
        home = self._homes.get(owned.topic_partition)
        if home is None:
            home = self._homes[owned.topic_partition] = {}
        return home

    def _sort_into(self, home: dict[LaneKey, Lane], jobs: Iterable[Job]) -> list[Lane]:
        lane_key, batch_size, filling = self._lane_key, self._batch_size, []
        for job in jobs:
            key = lane_key(job)
            lane = home.get(key)
            if lane is None:
                lane = Lane(home, key)
                self._place(lane)
            lane.jobs.append(job)
            if lane.state is IDLE:
                if len(lane.jobs) >= batch_size:
                    self._make_ready(lane)
                elif len(lane.jobs) == 1:
                    filling.append(lane)
        return [lane for lane in filling if lane.state is IDLE]

    def close_batch(self, lane: Lane, turn: int) -> None:
        """Start this lane's batch as it is, unless that batch was taken since `turn`."""
        if lane.state is IDLE and lane.turn == turn:
            self._make_ready(lane)

    def close_batches(self, owned: OwnedPartition) -> bool:
        """Start all batches of this ownership as they are; whether there was any."""
        home = self._homes.get(owned.topic_partition, {})
        filling = [lane for lane in home.values() if lane.state is IDLE]
        for lane in filling:
            self._make_ready(lane)
        return bool(filling)

    def next(self) -> tuple[Lane, Sequence[Job]] | None:
        """The next ready lane with the jobs at its head, busy until it is released or backs off."""
        if self._unsorted:
            alone = self._unsorted_lane
            if alone.job is None:
                alone.job = job = self._unsorted.popleft()
                self.waiting -= 1
                return alone, (job,)
            self.sort()
        ready = self._ready
        while ready:
            lane = ready.popleft()
            if lane.state is not READY:
                continue  # dropped while it stood in the queue
            lane.state = BUSY
            lane.turn += 1
            if self._batch_size == 1:
                self.waiting -= 1
                return lane, (lane.jobs.popleft(),)
            jobs = self._take_batch(lane)
            self.waiting -= len(jobs)
            return lane, jobs
        return None

    def release(self, lane: Lane, leftover: Sequence[Job] = ()) -> None:
        """A busy lane's jobs are done, but for `leftover`; the lane goes to the end of the queue."""
        if lane is self._unsorted_lane:
            if not leftover:
                self._unsorted_lane.job = None
                return
            self.sort()
        if leftover:
            self._put_back(lane, leftover)
        waiting = len(lane.jobs)
        if not waiting:
            self._forget(lane)
        elif waiting >= self._batch_size or lane.jobs[0].attempts:
            lane.state = READY
            self._ready.append(lane)
        else:
            lane.state = IDLE

    def back_off(self, lane: Lane, leftover: Sequence[Job]) -> None:
        """A busy lane's head backs off; the lane holds no runner meanwhile."""
        if lane is self._unsorted_lane:
            self.sort()
        self._put_back(lane, leftover)
        if lane.jobs:
            lane.state = WAITING
            self.backing_off += 1
        else:
            self._forget(lane)

    def wake(self, lane: Lane) -> None:
        """The back-off is over. A lane that was dropped meanwhile stays dropped."""
        if lane.state is WAITING:
            self.backing_off -= 1
            self._make_ready(lane)

    def drop(self, owned: OwnedPartition) -> list[Job]:
        """Forget the waiting jobs of one ownership, and return them.

        A busy lane stays, so that a key whose last handler call is still running starts nothing
        beside it, should the partition come back.
        """
        self.sort()
        home = self._homes.get(owned.topic_partition, {})
        dropped = [job for lane in list(home.values()) for job in self._drop_from(lane, owned)]
        if not home:
            self._homes.pop(owned.topic_partition, None)
        return dropped

    def _drop_from(self, lane: Lane, owned: OwnedPartition) -> list[Job]:
        dropped = [job for job in lane.jobs if job.owned is owned]
        lane.jobs = deque(job for job in lane.jobs if job.owned is not owned)
        self.waiting -= len(dropped)
        if not lane.jobs and lane.state is not BUSY:
            self.backing_off -= lane.state is WAITING
            self._forget(lane)
        return dropped

    def _take_batch(self, lane: Lane) -> Sequence[Job]:
        jobs = lane.jobs
        head = jobs.popleft()
        batch = [head]
        # A batch that failed is tried again with the same members, and singles run alone.
        while not head.single and jobs and len(batch) < self._batch_size and _belong_together(head, jobs[0]):
            batch.append(jobs.popleft())
        return batch

    def _put_back(self, lane: Lane, leftover: Sequence[Job]) -> None:
        kept = [job for job in leftover if not job.owned.lease.revoked]
        lane.jobs.extendleft(reversed(kept))
        self.waiting += len(kept)

    def _forget(self, lane: Lane) -> None:
        lane.state = DROPPED
        if lane.home.get(lane.key) is lane:
            del lane.home[lane.key]
            self._standing -= 1

    def _place(self, lane: Lane) -> None:
        lane.home[lane.key] = lane
        self._standing += 1

    def _make_ready(self, lane: Lane) -> None:
        lane.state = READY
        self._ready.append(lane)


def _belong_together(head: Job, job: Job) -> bool:
    return job.attempts == head.attempts and not job.single and job.owned is head.owned
