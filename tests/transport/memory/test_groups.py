"""A group is dealt out fairly, and whatever its members do, no partition has two owners."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies
from hypothesis.stateful import Bundle as MemberBundle
from hypothesis.stateful import RuleBasedStateMachine, consumes, invariant, precondition, rule

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Position
from convex_messaging_fastapi.transport.memory.groups import Group, Member, Standing, Terms, deal
from convex_messaging_fastapi.transport.memory.topics import Topic
from tests.support.examples import examples

TERMS = Terms(from_latest=False, drain_seconds=5, rebalance_seconds=15, session_seconds=30)


def member(*topics: str) -> Member:
    return Member(frozenset(topics), TERMS)


def test_partitions_are_dealt_in_ranges_that_differ_by_one_at_most() -> None:
    shares = deal({"a": 4, "b": 2}, [frozenset("ab"), frozenset("a"), frozenset("ab")])
    assert [[(where.topic, where.partition) for where in share] for share in shares] == [
        [("a", 0), ("a", 1), ("b", 0)],
        [("a", 2)],
        [("a", 3), ("b", 1)],
    ]


def test_with_more_members_than_partitions_some_get_none() -> None:
    shares = deal({"a": 2}, [frozenset("a")] * 3)
    assert sorted(len(share) for share in shares) == [0, 1, 1]


def test_a_topic_nobody_wants_is_dealt_to_nobody() -> None:
    assert deal({"a": 2, "b": 2}, [frozenset("a")]) == [[TopicPartition("a", 0), TopicPartition("a", 1)]]


def test_a_member_alone_is_granted_everything_at_once() -> None:
    group, alone = Group({"a": Topic("a", 2)}), member("a")
    group.join(alone, now=0)
    assert group.standing(alone) is Standing.HOLDING
    assert alone.grant is not None
    assert set(alone.grant.positions) == {TopicPartition("a", 0), TopicPartition("a", 1)}


def test_the_group_waits_for_what_was_asked_back_and_no_longer_than_the_deadline() -> None:
    group, slow, new = Group({"a": Topic("a", 2)}), member("a"), member("a")
    group.join(slow, now=0)
    slow.fetching = True
    group.join(new, now=1)
    assert group.standing(slow) is Standing.ASKED_BACK
    assert group.next_overdue() == 1 + TERMS.rebalance_seconds
    group.expel_overdue(now=15.9)
    assert group.standing(new) is Standing.WAITING
    group.expel_overdue(now=16)
    assert group.standing(slow) is Standing.EXPELLED
    assert group.standing(new) is Standing.HOLDING


def test_a_member_that_has_ceased_to_fetch_is_expelled_when_its_session_ends() -> None:
    group, gone, here = Group({"a": Topic("a", 2)}), member("a"), member("a")
    group.join(gone, now=0)
    group.join(here, now=0)
    group.hand_back(gone)
    here.fetching = True
    group.expel_overdue(now=29.9)
    assert group.standing(gone) is Standing.HOLDING
    group.expel_overdue(now=30)
    assert group.standing(gone) is Standing.EXPELLED
    assert group.standing(here) is Standing.ASKED_BACK


def test_a_commit_must_keep_to_the_partitions_of_its_grant() -> None:
    group, alone = Group({"a": Topic("a", 1)}), member("a")
    group.join(alone, now=0)
    assert alone.grant is not None
    others = {TopicPartition("a", 0): Position(1), TopicPartition("b", 0): Position(1)}
    assert group.commit(alone, alone.grant.epoch, others) is CommitOutcome.STALE
    assert group.offsets == {}


class Membership(RuleBasedStateMachine):
    """Members come, hand back, fall silent, die and leave; each believes its grant until it looks."""

    members = MemberBundle("members")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.group = Group({"a": Topic("a", 4), "b": Topic("b", 3)})
        self.all: list[Member] = []

    @rule(target=members, topics=strategies.sets(strategies.sampled_from("ab"), min_size=1))
    def join(self, topics: set[str]) -> Member:
        new = member(*topics)
        self.all.append(new)
        self.group.join(new, self.now)
        return new

    @rule(gone=consumes(members))
    def leave(self, gone: Member) -> None:
        self.group.leave(gone, self.now)
        assert self.group.standing(gone) is Standing.EXPELLED

    @rule(one=members, fetching=strategies.booleans())
    def look(self, one: Member, fetching: bool) -> None:
        one.fetching, one.last_seen = fetching, self.now
        self.group.expel_overdue(self.now)
        match self.group.standing(one):
            case Standing.ASKED_BACK:
                self.group.hand_back(one)
            case Standing.EXPELLED:
                self.group.join(one, self.now)

    @rule(seconds=strategies.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.group.expel_overdue(self.now)

    @rule(one=members, offset=strategies.integers(0, 9))
    def commit(self, one: Member, offset: int) -> None:
        grant = one.grant
        epoch = grant.epoch if grant is not None else 0
        where = dict.fromkeys(grant.positions if grant is not None else (), Position(offset))
        holds = self.group.standing(one) in (Standing.HOLDING, Standing.ASKED_BACK)
        outcome = self.group.commit(one, epoch, where)
        assert outcome is (CommitOutcome.COMMITTED if holds else CommitOutcome.STALE)

    @invariant()
    def no_partition_has_two_owners(self) -> None:
        held = [where for one in self.all if one.grant is not None for where in one.grant.positions]
        assert len(held) == len(set(held))

    @precondition(lambda self: self.all)
    @invariant()
    def when_stable_everything_wanted_is_held(self) -> None:
        here = [one for one in self.all if self.group.standing(one) is not Standing.EXPELLED]
        if all(self.group.standing(one) is Standing.HOLDING for one in here):
            wanted: set[Any] = {topic for one in here for topic in one.topics}
            held = [where for one in here if one.grant is not None for where in one.grant.positions]
            assert len(held) == sum({"a": 4, "b": 3}[topic] for topic in wanted)

    def teardown(self) -> None:
        """However it went, the members that still look come to hold everything again."""
        for one in self.all:
            if self.group.standing(one) is not Standing.EXPELLED:
                one.fetching = True
        for one in self.all:
            if self.group.standing(one) is Standing.ASKED_BACK:
                self.group.hand_back(one)
        standings = {self.group.standing(one) for one in self.all}
        assert standings <= {Standing.HOLDING, Standing.EXPELLED}


TestMembership = Membership.TestCase
TestMembership.settings = examples(60, steps=30)
