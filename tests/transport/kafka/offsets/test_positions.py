"""Where reading goes on when the log does not have the offset that was to be read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position
from convex_messaging_fastapi.transport.kafka.engine import TopicId
from convex_messaging_fastapi.transport.kafka.offsets.history import LOSSES_KEPT, History
from convex_messaging_fastapi.transport.kafka.offsets.marks import marked
from convex_messaging_fastapi.transport.kafka.offsets.positions import (
    LastKnown,
    Move,
    decide_anew,
    decide_move,
    moves,
    starts,
)


@pytest.mark.parametrize("policy", ["earliest", "latest"])
def test_what_retention_left_is_read_under_any_policy(policy: str) -> None:
    found = decide_move(offset=2, first=5, end=10, policy=policy)
    assert (found.to, found.is_another_log) == (5, False)
    assert found.sentence == "3 records are gone before they were read: 2..4"


@pytest.mark.parametrize(("policy", "to"), [("earliest", 0), ("latest", 3)])
def test_a_log_that_was_cut_is_read_from_where_the_policy_says(policy: str, to: int) -> None:
    found = decide_move(offset=50, first=0, end=3, policy=policy)
    assert (found.to, found.is_another_log) == (to, True)
    assert "ends at 3, before offset 50" in found.sentence


def test_what_is_known_to_have_stood_in_a_log_that_was_cut_is_counted() -> None:
    """And under `latest` what the new one holds already, for nobody reads it."""
    assert decide_move(offset=50, first=0, end=3, policy="earliest", unread=7).lost == 7
    assert decide_move(offset=50, first=1, end=3, policy="latest", unread=7).lost == 9


def test_a_log_that_has_the_offset_after_all_is_read_on() -> None:
    """A leader that was frozen, and deposed meanwhile, said that it had it not."""
    for offset in (0, 850, 852):
        found = decide_move(offset=offset, first=0, end=852, policy="earliest")
        assert (found.to, found.lost, found.is_loss) == (offset, 0, False)


@pytest.mark.parametrize(("policy", "to", "lost"), [("earliest", 3, 0), ("latest", 9, 6)])
def test_a_topic_that_was_made_anew_begins_where_the_policy_says(policy: str, to: int, lost: int) -> None:
    """And that is told, also where it happens to be the same offset."""
    found = decide_anew(offset=9, first=3, end=9, policy=policy)
    assert (found.offset, found.to, found.lost) == (9, to, lost)
    assert (found.is_another_log, found.is_loss) == (True, True)


OLD, NEW, MIRRORED = (TopicId(c, i * 16) for c, i in (("here", b"o"), ("here", b"n"), ("there", b"o")))


class Logs:
    """What a member is told: where logs begin and end, and what its group has committed."""

    def __init__(
        self, ends: dict[TopicPartition, int], committed: dict[TopicPartition, int], topic_id: TopicId = OLD
    ) -> None:
        self._ends, self._committed, self._topic_id = ends, committed, topic_id
        self.committed_in: TopicId | None = None

    def topic_id(self, topic: str) -> TopicId | None:
        return self._topic_id

    async def ends(self, wanted: Collection[TopicPartition], *, last: bool) -> dict[TopicPartition, int]:
        return {where: self._ends[where] if last else 0 for where in wanted}

    async def committed(self, wanted: Collection[TopicPartition]) -> dict[TopicPartition, Position]:
        text = marked("finished", self.committed_in)
        return {where: Position(self._committed[where], text) for where in wanted if where in self._committed}

    def end_seen(self, where: TopicPartition) -> int | None:
        return 60


class Doubt:
    """How often a leader was doubted; its successor has `afterwards`, and tells of `topic_id`."""

    def __init__(
        self,
        logs: Any = None,
        afterwards: dict[TopicPartition, int] | None = None,
        topic_id: TopicId | None = OLD,
    ) -> None:
        self.times = 0
        self._logs, self._afterwards, self._topic_id = logs, afterwards, topic_id

    async def __call__(self) -> None:
        self.times += 1
        if self._afterwards is not None:
            self._logs._ends, self._logs._topic_id = self._afterwards, self._topic_id


SHORT, GROWN, UNTOUCHED, UNSTORED = (TopicPartition("orders", n) for n in range(4))
ELSEWHERE = TopicPartition("payments", 0)
HELD = dict.fromkeys((SHORT, GROWN, UNTOUCHED, UNSTORED, ELSEWHERE), 50)


def reading(
    held: Mapping[TopicPartition, int], stored: Mapping[TopicPartition, int], topic_id: TopicId | None = OLD
) -> LastKnown:
    return LastKnown(held, {where.topic: topic_id for where in held}, stored, "earliest")


async def test_a_topic_made_anew_is_left_in_all_its_partitions_as_soon_as_one_tells() -> None:
    """Those whose log is short, and those that the group has forgotten although their log has grown again."""
    ends = {**HELD, SHORT: 3, GROWN: 99, UNTOUCHED: 55, TopicPartition("orders", 4): 2}
    held = HELD | {TopicPartition("orders", 4): 50}
    logs: Any = Logs(ends, {UNTOUCHED: 45, ELSEWHERE: 45})

    found = await moves(logs, TopicPartition("orders", 4), reading(held, {GROWN: 40, UNTOUCHED: 45}), Doubt())

    assert {where: moved.to for where, moved in found.items()} == {
        TopicPartition("orders", 4): 0,
        SHORT: 0,
        GROWN: 0,
    }
    assert found[SHORT].lost == 10, "what had been heard of and not read"
    assert "made anew" in found[GROWN].sentence


async def test_a_log_that_grew_past_the_offset_again_is_known_by_what_kafka_forgot_with_the_old_one() -> None:
    grown: Any = Logs({**HELD, GROWN: 99}, {})
    assert (await moves(grown, GROWN, reading({GROWN: 50}, {GROWN: 40}), Doubt()))[GROWN].to == 0

    remembered: Any = Logs({**HELD, GROWN: 99}, {GROWN: 40})
    stays = (await moves(remembered, GROWN, reading({GROWN: 50}, {GROWN: 40}), Doubt()))[GROWN]
    assert (stays.to, stays.is_loss) == (50, False)


async def test_a_leader_that_was_deposed_without_knowing_it_is_not_believed() -> None:
    logs: Any = Logs({GROWN: 45}, {GROWN: 40})
    doubt = Doubt(logs, afterwards={GROWN: 52})

    found = await moves(logs, GROWN, reading({GROWN: 50}, {GROWN: 40}), doubt)

    assert (found[GROWN].to, found[GROWN].is_loss, doubt.times) == (50, False, 1)


async def test_a_log_that_its_leader_says_again_was_cut_is_left() -> None:
    logs: Any = Logs({GROWN: 45}, {GROWN: 40})
    doubt = Doubt()

    found = await moves(logs, GROWN, reading({GROWN: 50}, {GROWN: 40}), doubt)

    assert (found[GROWN].to, doubt.times) == (0, 1)


async def test_a_topic_that_kafka_forgot_was_made_anew_beyond_doubt() -> None:
    doubt = Doubt()

    logs: Any = Logs({GROWN: 3}, {})

    found = await moves(logs, GROWN, reading({GROWN: 50}, {GROWN: 40}), doubt)

    assert (found[GROWN].to, doubt.times) == (0, 0)


@pytest.mark.parametrize("end", [3, 99], ids=["shorter", "longer"])
async def test_a_topic_with_another_id_was_made_anew_beyond_doubt_in_all_its_partitions(end: int) -> None:
    """Whatever Kafka still tells of what the group had committed in it, and although nothing was stored."""
    held = {GROWN: 50, UNTOUCHED: 50, ELSEWHERE: 50}
    doubt = Doubt()
    logs: Any = Logs({**held, GROWN: end}, {GROWN: 40, UNTOUCHED: 45}, topic_id=NEW)

    found = await moves(logs, GROWN, reading(held, {}), doubt)

    assert {where: moved.to for where, moved in found.items()} == {GROWN: 0, UNTOUCHED: 0}
    assert doubt.times == 0


async def test_a_log_that_grew_past_the_offset_while_its_leader_was_doubted_is_known_by_its_id() -> None:
    logs: Any = Logs({GROWN: 3}, {GROWN: 40})
    doubt = Doubt(logs, afterwards={GROWN: 99}, topic_id=NEW)

    found = await moves(logs, GROWN, reading({GROWN: 50}, {}), doubt)

    assert (found[GROWN].to, doubt.times) == (0, 1)


@pytest.mark.parametrize(
    "ids",
    [(None, NEW), (OLD, None), (MIRRORED, NEW)],
    ids=["not known before", "not known now", "another cluster's"],
)
async def test_an_id_that_is_not_known_tells_nothing(ids: tuple[TopicId | None, Any]) -> None:
    """Of brokers before Kafka 2.8 none is."""
    before, now = ids
    logs: Any = Logs({GROWN: 99}, {GROWN: 40}, topic_id=now)
    found = await moves(logs, GROWN, reading({GROWN: 50}, {GROWN: 40}, before), Doubt())
    assert not found[GROWN].is_loss


async def test_what_retention_removed_of_one_partition_is_no_news_of_others() -> None:
    class Trimmed(Logs):
        async def ends(self, wanted: Collection[TopicPartition], *, last: bool) -> dict[TopicPartition, int]:
            return dict.fromkeys(wanted, 90 if last else 70)

    logs: Any = Trimmed({}, {})

    found = await moves(logs, SHORT, reading(HELD, {GROWN: 40}), Doubt())

    assert {where: (moved.to, moved.lost) for where, moved in found.items()} == {SHORT: (70, 20)}


async def test_a_remade_topic_is_one_although_retention_has_begun_in_the_new_log() -> None:
    class Trimmed(Logs):
        async def ends(self, wanted: Collection[TopicPartition], *, last: bool) -> dict[TopicPartition, int]:
            return dict.fromkeys(wanted, 90 if last else 70)

    logs: Any = Trimmed({}, {}, topic_id=NEW)
    found = await moves(logs, SHORT, reading({SHORT: 50, GROWN: 50}, {}), Doubt())
    assert {where: (moved.to, moved.lost) for where, moved in found.items()} == {
        SHORT: (70, 0),
        GROWN: (70, 0),
    }


async def test_an_assignment_starts_where_the_group_had_come_to_and_elsewhere_where_the_policy_says() -> None:
    logs: Any = Logs({GROWN: 99, SHORT: 3}, {GROWN: 40})
    logs.committed_in = OLD
    found = await starts(logs, [GROWN, SHORT], {"orders": OLD}, "latest", {GROWN: 40})
    assert found[:3] == ({GROWN: Position(40, "finished")}, {SHORT: Position(3)}, {})
    assert (found.topic_ids, found.strange) == ({"orders": OLD}, frozenset())


async def test_a_commit_of_an_earlier_topic_of_that_name_is_none_and_is_told() -> None:
    """Whoever made it, and whether or not it is known which of the two came first."""
    logs: Any = Logs({GROWN: 99}, {GROWN: 40})
    logs.committed_in = OLD
    found = await starts(logs, [GROWN], {"orders": NEW}, "earliest", {})
    assert (found.stored, found.placed, found.strange) == ({}, {GROWN: Position(0)}, frozenset({OLD}))
    assert (found.moves[GROWN].offset, found.moves[GROWN].to) == (40, 0)


async def test_a_commit_that_was_mirrored_from_another_cluster_is_good() -> None:
    logs: Any = Logs({GROWN: 99}, {GROWN: 40})
    logs.committed_in = MIRRORED
    found = await starts(logs, [GROWN], {"orders": NEW}, "latest", {})
    assert (found.stored, found.strange) == ({GROWN: Position(40, "finished")}, frozenset())


async def test_what_the_group_had_stored_and_kafka_has_forgotten_is_told_at_the_start() -> None:
    logs: Any = Logs({GROWN: 99}, {})
    found = await starts(logs, [GROWN], {"orders": OLD}, "earliest", {GROWN: 40})
    assert (found.placed, found.moves[GROWN].offset) == ({GROWN: Position(0)}, 40)


def test_the_latest_losses_are_kept_and_all_are_counted() -> None:
    history = History("readers", ManualClock())
    for n in range(LOSSES_KEPT + 5):
        history.lose(TopicPartition("orders", 0), Move(n, n + 1, 2, "gone"))
    assert len(history.losses) == LOSSES_KEPT
    assert history.losses[-1].from_offset == LOSSES_KEPT + 4
    assert history.lost == 2 * (LOSSES_KEPT + 5)
