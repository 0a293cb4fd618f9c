"""Every check finds what is wrong in a history made by hand, and nothing in the good one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.checks import CHECKS, judge, key_order, repeats, unseen
from tests.faults.evidence import (
    FAILED,
    OK,
    UNKNOWN,
    Allowed,
    Buried,
    Ended,
    Evidence,
    Logged,
    Lost,
    Produced,
    Seen,
    Usage,
    Window,
    load,
)
from tests.support.ledgers import Note, Place
from tests.support.probing import LIVE, READY, Answer

ALLOWED = Allowed(recovery=5, drained=10, back_within=5, stall=12)


def note(at: float, event: str, offset: int, member: str = "one:1", **more: object) -> Note:
    return Note(at, event, member, "work", 0, offset, "ada", offset)._replace(**more)  # type: ignore[arg-type]


def turn(start: float, end: float, offset: int, member: str = "one:1") -> list[Note]:
    return [note(start, "start", offset, member), note(end, "ok", offset, member)]


def fetched(at: float, first: int, last: int, count: int) -> Note:
    return note(at, "fetched", first, last=last, many=count, epoch=1)


def committed(at: float, offset: int, member: str = "one:1") -> list[Note]:
    return [note(at, "commit", offset, member), note(at + 0.1, "committed", offset, member)]


GOOD = Evidence(
    produced=[Produced(id, "ada", id, id + 0.1, OK, 0, id) for id in range(3)],
    log=[Logged("work", 0, id, id, "ada") for id in range(3)],
    buried=[],
    notes=[
        fetched(0.2, 0, 0, 1),
        *turn(1, 2, 0),
        *committed(2.5, 1),
        fetched(2.7, 1, 2, 2),
        *turn(3, 4, 1),
        *turn(11, 12, 2),
        *committed(13, 3),
    ],
    windows=[Window("a cut", 5, 10)],
    answers={"one": [Answer(at, path, 200, "fine") for at in (1, 6, 11, 16) for path in (LIVE, READY)]},
    usage=[Usage(1, "one:1", 50, 10, 3, 8), Usage(16, "one:1", 52, 11, 3, 8)],
    logs={"one": "one record could not be fetched for 5 s"},
    ended=[Ended("one:1", 1.0, -15)],
    secrets=("hunter2",),
)


BETWEEN = Place("work", 0, 1)


def with_notes(*notes: Note) -> Evidence:
    return replace(GOOD, notes=sorted([*GOOD.notes, *notes]))


def without_turn(offset: int) -> list[Note]:
    return [n for n in GOOD.notes if n.event not in {"start", "ok"} or n.offset != offset]


def at_the_end(rss: float, files: int, threads: int, tasks: int) -> Evidence:
    young = [Usage(at, "one:1", 50, 10, 3, 8) for at in range(10)]
    old = [Usage(at, "one:1", rss, files, threads, tasks) for at in range(13, 18)]
    return replace(GOOD, usage=[*young, *old])


WRONG: dict[str, tuple[str, Evidence]] = {
    "a commit while a record below it runs": ("commit-safety", with_notes(note(3.5, "commit", 2))),
    "a commit that only an outsider saw": (
        "commit-safety",
        replace(GOOD, seen=[Seen(3.5, "work", 0, 3)]),
    ),
    "a commit of a record that was never begun": (
        "commit-safety",
        replace(GOOD, notes=without_turn(1), log=GOOD.log),
    ),
    "nobody at work for long": ("stall", with_notes(*turn(30, 31, 9))),
    "a record that nobody handled": ("unhandled", replace(GOOD, notes=without_turn(2))),
    "an acknowledged message that is gone": ("lost-write", replace(GOOD, log=GOOD.log[:2])),
    "an acknowledged message that is elsewhere": (
        "lost-write",
        replace(GOOD, produced=[Produced(0, "ada", 0, 1, OK, 0, 1)]),
    ),
    "a refused message that is there": (
        "phantom",
        replace(GOOD, produced=[Produced(1, "ada", 1, 2, FAILED)]),
    ),
    "a handler called for nothing": ("phantom", with_notes(*turn(14, 15, 9))),
    "a message written twice": (
        "duplicate",
        replace(GOOD, log=[*GOOD.log, Logged("work", 0, 3, 2, "ada")]),
    ),
    "a record handled again": ("repeats", with_notes(*turn(14, 15, 2, "two:2"))),
    "a fetch that misses a record": ("skip", replace(GOOD, notes=[fetched(0, 0, 0, 1), fetched(1, 2, 2, 1)])),
    "a fetch that drops one in its midst": ("skip", with_notes(fetched(20, 0, 2, 2))),
    "a fetch that comes again": ("skip", with_notes(fetched(20, 2, 2, 1))),
    "a later record begun first": (
        "key-order",
        replace(GOOD, notes=[*turn(1, 2, 1), *turn(2, 3, 0), *turn(3, 4, 2)]),
    ),
    "a log against the order of sending": (
        "key-order",
        replace(GOOD, log=[Logged("work", 0, 0, 1, "ada"), Logged("work", 0, 1, 0, "ada")]),
    ),
    "two of a key at the same time": ("overlap", with_notes(*turn(1.5, 1.8, 2, "two:2"))),
    "a loss that is none": ("loss-truth", replace(GOOD, lost=[Lost("work", 0, 1, 3)])),
    "a commit that an outsider saw fall": (
        "commit-regress",
        replace(GOOD, seen=[Seen(15, "work", 0, 2, asked=14)]),
    ),
    "a commit that falls": ("commit-regress", with_notes(note(14, "committed", 1, "two:2"))),
    "nothing handled after the heal": (
        "recovery",
        replace(
            GOOD,
            produced=[Produced(2, "ada", 10.5, 10.6, OK, 0, 2)],
            notes=[*without_turn(2), fetched(16.5, 2, 2, 1), *turn(17, 18, 2)],
        ),
    ),
    "nothing handled ever again": (
        "recovery",
        replace(
            GOOD,
            windows=[Window("a cut", 1, 2.5)],
            notes=[*turn(1, 2, 0)],
            produced=[Produced(1, "ada", 5, 6, OK, 0, 1)],
        ),
    ),
    "a last record that takes too long": (
        "recovery",
        replace(GOOD, notes=[*without_turn(2), *turn(11, 25, 2)]),
    ),
    "live that is not 200": ("health-truth", replace(GOOD, answers={"one": [Answer(6, LIVE, 503, "")]})),
    "live that nobody answers": (
        "health-truth",
        replace(
            GOOD, answers={"one": [Answer(at, LIVE, s, "") for at, s in ((16, 200), (18, None), (19, 200))]}
        ),
    ),
    "ready that stays 503": ("health-truth", replace(GOOD, answers={"one": [Answer(16, READY, 503, "")]})),
    "memory that grows": ("resources", at_the_end(200, 11, 3, 8)),
    "files that stay open": (
        "resources",
        at_the_end(52, 99, 3, 8),
    ),
    "threads that stay": ("resources", at_the_end(52, 11, 30, 8)),
    "tasks that stay": ("resources", at_the_end(52, 11, 3, 80)),
    "an end that takes too long": ("shutdown", replace(GOOD, ended=[Ended("one:1", 31.0, -15)])),
    "an end by itself": ("shutdown", replace(GOOD, ended=[Ended("one:1", 0.0, 1)])),
    "a secret in a log": ("logs", replace(GOOD, logs={"one": "password=hunter2"})),
    "a task that nobody asked": (
        "logs",
        replace(GOOD, logs={"one": "Task exception was never retrieved"}),
    ),
}


def test_much_that_is_under_way_at_one_look_is_nothing_that_stays() -> None:
    seen = at_the_end(52, 11, 3, 8)
    busy = Usage(18, "one:1", 52, 11, 3, 80)
    assert judge(replace(seen, usage=[*seen.usage, busy]), ALLOWED) == {}


def test_the_good_history_passes_every_check() -> None:
    assert judge(GOOD, ALLOWED) == {}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_found_by_the_check_that_is_named_for_it(wrong: str) -> None:
    check, evidence = WRONG[wrong]

    assert CHECKS[check](evidence, ALLOWED), judge(evidence, ALLOWED)


def test_every_check_has_a_history_that_it_must_find() -> None:
    assert {check for check, _ in WRONG.values()} == set(CHECKS)


def test_what_nobody_noted_is_told_for_no_check_of_it_can_fail() -> None:
    assert unseen(GOOD) == []
    blind = replace(GOOD, usage=[], notes=[n for n in GOOD.notes if n.event != "commit"])
    assert judge(blind, ALLOWED) == {}
    assert unseen(blind) == ["measures", "commit"]


def test_a_record_whose_letter_was_written_is_done() -> None:
    buried = replace(GOOD, notes=without_turn(1), buried=[Buried("work", 0, 1, 4)])

    assert judge(buried, ALLOWED) == {}
    too_late = replace(buried, buried=[Buried("work", 0, 1, 14)])
    assert set(judge(too_late, ALLOWED)) == {"commit-safety"}


def test_what_was_removed_and_told_is_no_violation() -> None:
    """Also when an earlier life had fetched it, and came to its end before it was handled."""
    kept = [n for n in without_turn(1) if n.event != "fetched"]
    untold = replace(GOOD, notes=[fetched(0.3, 0, 1, 2), *kept], removed=[BETWEEN])

    assert set(judge(untold, ALLOWED)) == {"unhandled", "commit-safety"}
    assert judge(replace(untold, lost=[Lost("work", 0, 1, 2)]), ALLOWED) == {}
    assert set(judge(replace(untold, lost=[Lost("work", 0, 1, 3)]), ALLOWED)) == {"loss-truth"}


def test_a_log_that_was_made_anew_is_judged_without_what_concerns_the_old_one() -> None:
    """There, the same offsets held other messages, whose owner fetched and committed on for a moment."""
    old = [
        *turn(-3, -2, 0),
        note(-2.5, "fetched", 0, last=7, many=8, epoch=0),
        *(note(0.5, event, 1, id=77) for event in ("start", "ok")),
        *(note(0.6, event, 8, epoch=0) for event in ("commit", "committed")),
        *(note(0.7, event, 8, member="two:2", epoch=1) for event in ("commit", "committed")),
    ]
    old = [n._replace(id=77) if n.event in {"start", "ok"} else n for n in old]
    written = Produced(9, "ada", -2, -1, OK, 0, 7)
    both = replace(GOOD, notes=sorted([*old, *GOOD.notes]), produced=[written, *GOOD.produced])

    assert set(judge(both, ALLOWED)) >= {"lost-write", "commit-safety", "commit-regress"}
    assert judge(both.of_the_log_since(0), ALLOWED) == {}


def test_ready_must_fall_when_the_scenario_says_so() -> None:
    strict = replace(ALLOWED, down_within=3)
    silent = replace(GOOD, answers={"one": [Answer(6, READY, 200, "")]})
    late = replace(GOOD, answers={"one": [Answer(9, READY, 503, "")]})
    true = replace(GOOD, answers={"one": [Answer(7, READY, 503, ""), Answer(11, READY, 200, "")]})

    assert judge(silent, strict)["health-truth"] == ["one: ready never said 503 during a cut"]
    assert judge(late, strict)["health-truth"] == ["one: ready said 503 4.0 s after a cut began"]
    assert judge(true, strict) == {}


def test_what_an_unknown_outcome_leaves_is_no_violation() -> None:
    """It may be in the log, or not."""
    unknown = [Produced(2, "ada", 2, 3, UNKNOWN), Produced(3, "ada", 3, 4, UNKNOWN)]

    assert judge(replace(GOOD, produced=unknown), ALLOWED) == {}


def test_a_message_of_unknown_outcome_may_arrive_after_later_ones() -> None:
    late = [Produced(0, "ada", 0, 1, UNKNOWN), *GOOD.produced[1:]]
    log = [Logged("work", 0, offset, id, "ada") for offset, id in enumerate((1, 2, 0))]
    acknowledged_late = replace(GOOD, log=log)

    assert not key_order(replace(GOOD, log=log, produced=late), ALLOWED)
    assert key_order(acknowledged_late, ALLOWED)


@pytest.mark.parametrize("frozen", ["one", "two"])
def test_a_frozen_process_may_overlap_its_successor(frozen: str) -> None:
    """Also by what it begins in the moment after its thaw."""
    overlapping = replace(GOOD, notes=sorted([*GOOD.notes, *turn(1.5, 1.8, 2, "two:2")]))
    zombie = replace(ALLOWED, zombies=(frozen,), repeats=1)

    assert CHECKS["overlap"](overlapping, ALLOWED)
    assert CHECKS["overlap"](overlapping, zombie) == []


def test_evidence_that_was_saved_is_the_same_when_loaded(tmp_path: Path) -> None:
    GOOD.save(tmp_path / "evidence.json")

    assert load(tmp_path / "evidence.json") == GOOD


def test_what_is_handled_again_is_held_against_the_bound_by_assignment() -> None:
    """Not by fault: two evictions may come between one fault and the next."""
    once = replace(ALLOWED, repeats=1)
    again = [fetched(20, 0, 0, 1)._replace(epoch=2), *turn(21, 22, 0)]
    and_again = [fetched(30, 0, 1, 2)._replace(epoch=3), *turn(31, 32, 0)]
    assert repeats(with_notes(*again, *and_again), once) == []
    assert len(repeats(with_notes(*again, *and_again, *turn(33, 34, 1)), once)) == 1
