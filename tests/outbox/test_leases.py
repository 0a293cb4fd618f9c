"""Leases: a lane never has two owners that may send, however relays come, go, die and freeze."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convex_messaging_fastapi.outbox.leases import (
    Claim,
    Lanes,
    LeaseTerms,
    seconds,
    share_of,
    surplus,
    too_few,
)
from convex_messaging_fastapi.outbox.tables import LANES

TERMS = LeaseTerms(15.0)


@pytest.mark.parametrize("live", [1, 2, 3, 5, 63, 64, 65])
def test_the_shares_of_all_relays_cover_every_lane(live: int) -> None:
    assert share_of(live) * live >= LANES
    assert (share_of(live) - 1) * live < LANES


def test_a_relay_that_is_not_counted_yet_holds_all() -> None:
    assert share_of(0) == LANES


def test_a_relay_takes_what_it_lacks_and_gives_back_what_it_has_too_many() -> None:
    assert too_few(0, 2) == 32
    assert too_few(40, 2) == 0
    assert list(surplus(range(40), 2)) == list(range(32, 40))
    assert list(surplus(range(10), 2)) == []


def test_the_lease_is_counted_from_before_it_was_asked_for() -> None:
    lanes = Lanes(TERMS)
    lanes.take_in([Claim(3, 1)], asked_at=100.0)
    assert lanes.time_left([3], 112.0) == 3.0


def test_nothing_is_sent_in_the_last_third_of_a_lease() -> None:
    lanes = Lanes(TERMS)
    lanes.take_in([Claim(3, 1)], asked_at=100.0)
    assert lanes.sendable(110.0) == {3}
    assert lanes.sendable(110.1) == frozenset()


def test_a_lane_with_another_token_is_new() -> None:
    lanes = Lanes(TERMS)
    assert lanes.take_in([Claim(3, 1)], 0.0) == {3}
    assert lanes.take_in([Claim(3, 1)], 5.0) == frozenset()
    assert lanes.take_in([Claim(3, 2)], 9.0) == {3}


def test_a_lane_whose_time_is_over_is_let_go() -> None:
    lanes = Lanes(TERMS)
    lanes.take_in([Claim(3, 7)], 0.0)
    lanes.take_in([Claim(4, 8)], 5.0)
    assert lanes.let_go_expired(15.0) == [Claim(3, 7)]
    assert dict(lanes.tokens) == {4: 8}


def test_no_time_is_left_for_a_lane_that_is_not_held() -> None:
    lanes = Lanes(TERMS)
    lanes.take_in([Claim(3, 7)], 0.0)
    assert lanes.time_left([3, 4], 1.0) == 0.0


def test_the_clock_of_leases_goes_on() -> None:
    assert seconds() <= seconds()


# -- a database and its relays, by their rules alone ---------------------------------------------


@dataclass
class Row:
    owner: str = ""
    token: int = 0
    until: float = 0.0


@dataclass
class Database:
    """What the store does, in one thread and by one clock."""

    lanes: dict[int, Row] = field(default_factory=lambda: {lane: Row() for lane in range(LANES)})
    relays: dict[str, float] = field(default_factory=dict)

    def beat(self, name: str, now: float) -> tuple[int, list[Claim]]:
        self.relays[name] = now + TERMS.lease
        live = sum(until > now for until in self.relays.values())
        mine = [row for row in self.lanes.values() if row.owner == name and row.until > now]
        for row in mine:
            row.until = now + TERMS.lease
        free = [row for row in self.lanes.values() if row.until <= now]
        for row in free[: too_few(len(mine), live)]:
            row.owner, row.token, row.until = name, row.token + 1, now + TERMS.lease
        claims = [Claim(lane, row.token) for lane, row in self.lanes.items() if row.owner == name]
        return live, [claim for claim in claims if self.lanes[claim.lane].until > now]

    def give_back(self, name: str, claims: list[Claim]) -> None:
        for lane, token in claims:
            row = self.lanes[lane]
            if (row.owner, row.token) == (name, token):
                row.until = 0.0

    def leave(self, name: str) -> None:
        self.relays.pop(name, None)


@dataclass
class Relay:
    """`asked` is a beat under way: when it was asked, and what the database has answered meanwhile."""

    name: str
    lanes: Lanes = field(default_factory=lambda: Lanes(TERMS))
    asked_at: float | None = None
    answer: tuple[int, list[Claim]] | None = None
    frozen_until: float = 0.0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "reach", "hear", "ask", "reach", "hear", "freeze", "leave", "die"]),
        st.integers(0, 4),
        st.floats(0, 6),
    ),
    max_size=120,
)


def take_step(database: Database, relays: list[Relay], step: str, at: int, now: float) -> None:
    relay = relays[at]
    if step == "die":
        relays[at] = Relay(f"{relay.name}'")
    elif step == "reach" and relay.asked_at is not None and relay.answer is None:
        relay.answer = database.beat(relay.name, now)  # the network goes on while a process is frozen
    elif now < relay.frozen_until:
        return
    elif step == "freeze":
        relay.frozen_until = now + 20.0
    elif step == "ask" and relay.asked_at is None:
        relay.asked_at = now
    elif step == "hear" and relay.answer is not None and relay.asked_at is not None:
        live, claims = relay.answer
        relay.lanes.take_in(claims, relay.asked_at)
        relay.lanes.let_go_expired(now)
        relay.asked_at = relay.answer = None
        database.give_back(relay.name, list(relay.lanes.let_go(surplus(relay.lanes.tokens, live))))
    elif step == "leave":
        database.give_back(relay.name, list(relay.lanes.let_go(list(relay.lanes.tokens))))
        database.leave(relay.name)
        relays[at] = Relay(f"{relay.name}'")


@pytest.mark.parametrize("count", [2, 3, 5])
@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_a_lane_never_has_two_owners_that_pass_the_gate(
    count: int, steps: list[tuple[str, int, float]]
) -> None:
    database, now = Database(), 1.0
    relays = [Relay(f"relay {number}") for number in range(count)]
    for step, at, pause in steps:
        now += pause
        take_step(database, relays, step, at % count, now)
        owned = [lane for relay in relays for lane in relay.lanes.sendable(now)]
        assert len(owned) == len(set(owned)), f"two may send for one lane after {step} at {now}"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_relays_that_live_share_all_lanes_after_a_few_beats(count: int) -> None:
    database, now = Database(), 1.0
    relays = [Relay(f"relay {number}") for number in range(count)]
    for _ in range(4):
        for at in range(count):
            for step in ("ask", "reach", "hear"):
                take_step(database, relays, step, at, now)
            now += 0.1
        now += TERMS.beat
    owned = [lane for relay in relays for lane in relay.lanes.sendable(now - TERMS.beat)]
    assert sorted(owned) == list(range(LANES))
    assert max(len(relay.lanes.tokens) for relay in relays) <= share_of(count)
