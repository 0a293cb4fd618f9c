"""A partition that stands still although its log goes on is noticed, and one that merely waits is not."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.kafka.consumer.progress import Progress

WHERE = TopicPartition("orders", 0)


class FakeMember:
    def __init__(self) -> None:
        self.end: int | None = 10
        self.answer = 0
        self.led = True
        self.data = False

    def answered(self, where: TopicPartition) -> int:
        return self.answer

    def end_seen(self, where: TopicPartition) -> int | None:
        return self.end

    def has_data(self, where: TopicPartition) -> bool:
        return self.data

    def is_led(self, where: TopicPartition) -> bool:
        return self.led


@pytest.fixture
def member() -> FakeMember:
    return FakeMember()


def _watch(member: FakeMember, *, seconds: int = 100, moving: bool = False) -> TopicPartition | None:
    """Look every ten seconds, with a good answer before each look."""
    progress, found = Progress(60), None
    for now in range(0, seconds, 10):
        member.answer += 1
        at = {WHERE: now if moving else 5}
        found = progress.stuck(member, at, [WHERE], now)  # type: ignore[arg-type]
    return found


def test_behind_the_end_and_not_moving_is_stuck(member: FakeMember) -> None:
    assert _watch(member, seconds=60) is None
    assert _watch(member) == WHERE


def test_moving_is_not_stuck(member: FakeMember) -> None:
    assert _watch(member, moving=True) is None


def test_at_the_end_is_not_stuck(member: FakeMember) -> None:
    member.end = 5
    assert _watch(member) is None


def test_an_open_transaction_is_waited_for(member: FakeMember) -> None:
    """The readable log ends before it, however long that takes."""
    member.end = 4
    assert _watch(member) is None


def test_no_good_answer_at_all_is_stuck(member: FakeMember) -> None:
    member.end = None
    assert _watch(member) == WHERE


def test_without_a_leader_another_member_would_not_help(member: FakeMember) -> None:
    member.led = False
    assert _watch(member) is None


def test_what_is_there_and_not_yet_taken_is_not_stuck(member: FakeMember) -> None:
    member.data = True
    assert _watch(member) is None


def test_what_is_not_wanted_is_not_watched(member: FakeMember) -> None:
    progress = Progress(60)
    for now in range(0, 200, 10):
        wanted = [WHERE] if now % 20 else []
        assert progress.stuck(member, {WHERE: 5}, wanted, now) is None  # type: ignore[arg-type]
