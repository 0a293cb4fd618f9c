"""The ledger never lets a commit pass unfinished work, whatever the order in which work ends."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.consuming.offset_metadata import FinishedRanges, Range

SIZE = 10


def ledger(start: int = 0, max_span: int = 100) -> Ledger:
    return Ledger(start, max_span)


def test_nothing_may_be_committed_before_anything_is_finished() -> None:
    book = ledger(start=7)
    book.enter(7, SIZE)

    assert book.committable == 7


def test_a_later_offset_that_is_finished_first_moves_nothing() -> None:
    book = ledger()
    book.enter(0, SIZE)
    book.enter(1, SIZE)

    book.finish(1, SIZE)

    assert (book.committable, book.oldest, book.unfinished) == (0, 0, 1)


def test_asking_for_the_oldest_changes_nothing_for_any_thread_may_ask() -> None:
    book = Ledger(0, 100)
    book.enter_all(range(5), 5)
    for offset, oldest in ((1, 0), (0, 2), (3, 2), (2, 4), (4, None)):
        book.finish(offset, 1)
        before = copy.deepcopy((book._open, book._finished))
        assert book.oldest == oldest
        assert (book._open, book._finished) == before


def test_the_prefix_grows_over_everything_that_was_finished_early() -> None:
    book = ledger()
    for offset in range(4):
        book.enter(offset, SIZE)

    for offset in (2, 1, 0):
        book.finish(offset, SIZE)

    assert book.committable == 3


def test_a_gap_in_the_log_is_passed_only_once_the_fetch_position_has_passed_it() -> None:
    book = ledger()
    book.enter(0, SIZE)
    book.finish(0, SIZE)
    assert book.committable == 1

    book.advance(5)  # transaction markers and compacted records at 1 to 4

    assert book.committable == 5


def test_a_record_of_two_subscriptions_is_finished_when_both_have_finished_it() -> None:
    book = ledger()
    book.enter(0, SIZE, owners=2)

    assert book.finish(0, SIZE) is False
    assert book.committable == 0

    assert book.finish(0, SIZE) is True
    assert book.committable == 1


def test_room_is_the_span_from_the_committed_to_the_highest_handed_out_offset() -> None:
    book = ledger(start=100, max_span=3)
    assert book.room == 3

    for offset in (100, 101, 102):
        book.enter(offset, SIZE)
        book.finish(offset, SIZE)
    assert book.room == 0, "finished work that is not committed may repeat too"

    book.mark_committed(102)
    assert book.room == 2


def test_a_late_answer_to_an_older_commit_does_not_rewind() -> None:
    book = ledger()
    book.mark_committed(5)
    book.mark_committed(3)

    assert book.committed == 5


def test_handing_out_an_offset_twice_is_refused() -> None:
    book = ledger()
    book.enter(4, SIZE)

    with pytest.raises(ValueError, match="4 was handed out already"):
        book.enter(4, SIZE)


def test_what_an_earlier_owner_finished_is_passed_over_and_told_to_the_next() -> None:
    book = Ledger(0, 100, FinishedRanges([Range(1, 3), Range(5, 6)], at_ms=10))
    book.enter(0, SIZE)

    passed = [offset for offset in (1, 2) if book.pass_over(offset, timestamp_ms=10)]

    assert passed == [1, 2]
    assert book.committable == 0
    assert all_in(book.finished_above()) == {1, 2, 5}
    book.finish(0, SIZE)
    assert book.committable == 3


def test_what_was_passed_over_is_told_once_also_while_more_of_its_range_is_to_come() -> None:
    """A fetch may end inside a range; what is told must rise, or it cannot be written."""
    book = Ledger(0, 100, FinishedRanges([Range(1, 5)], at_ms=10))
    book.enter(0, SIZE)

    assert [book.pass_over(offset, timestamp_ms=10) for offset in (1, 2)] == [True, True]
    assert list(book.finished_above()) == [Range(1, 3), Range(3, 5)]

    book.finish(0, SIZE)
    assert (book.committable, list(book.finished_above())) == (3, [Range(3, 5)])


def test_what_an_earlier_owner_finished_and_is_handled_again_is_not_told_as_finished() -> None:
    """Its timestamp says that it is another record."""
    book = Ledger(0, 100, FinishedRanges([Range(0, 5)], at_ms=10))

    assert not book.pass_over(0, timestamp_ms=11)
    book.enter(0, SIZE)

    assert all_in(book.finished_above()) == {1, 2, 3, 4}


def test_what_only_an_earlier_owner_knows_keeps_the_time_of_its_commit() -> None:
    """Told anew with a later time, it would cover records that a new log has at the same offsets."""
    book = Ledger(0, 100, FinishedRanges([Range(5, 6)], at_ms=10))
    book.enter(0, SIZE)
    assert book.finished_by_ms(now_ms=99) == 10

    book.pass_over(5, timestamp_ms=10)
    assert book.finished_by_ms(now_ms=99) == 99


def test_what_is_finished_above_the_prefix_is_told_in_runs() -> None:
    book = ledger()
    for offset in (0, 1, 4, 5, 6):
        book.enter(offset, SIZE)

    for offset in (1, 4, 6):
        book.finish(offset, SIZE)

    assert list(book.finished_above()) == [Range(1, 5), Range(6, 7)], "2 and 3 never came"


def all_in(ranges: Iterable[Range]) -> set[int]:
    return {offset for each in ranges for offset in range(each.start, each.end)}


class LedgerAgainstAPlainModel(RuleBasedStateMachine):
    """Random hand-outs, gaps, completions and commits, beside a model that only keeps sets."""

    @initialize(
        start=st.integers(0, 50),
        span=st.integers(1, 30),
        steps=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), max_size=5),
    )
    def begin(self, start: int, span: int, steps: list[tuple[int, int]]) -> None:
        known, end = [], start
        for ahead, length in steps:
            known.append(Range(end + ahead, end + ahead + length))
            end = known[-1].end
        self.known = all_in(known)
        self.ledger = Ledger(start, span, FinishedRanges(known, at_ms=10))
        self.span = span
        self.position = self.committed = start
        self.open: dict[int, int] = {}
        self.given: set[int] = set()

    @precondition(lambda self: self.ledger.room > 0)
    @rule(gap=st.integers(0, 3), owners=st.integers(1, 3), is_late=st.booleans())
    def take(self, gap: int, owners: int, is_late: bool) -> None:
        offset = self.position + gap
        self.position = offset + 1
        passes = self.ledger.knows_more and self.ledger.pass_over(offset, timestamp_ms=11 if is_late else 10)
        assert passes is (offset in self.known and not is_late)
        if passes:
            self.given.add(offset)
            return
        self.ledger.enter(offset, SIZE, owners)
        self.open[offset] = owners
        self.given.add(offset)

    @rule(gap=st.integers(0, 5))
    def advance(self, gap: int) -> None:
        self.position += gap
        self.ledger.advance(self.position)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offsets = data.draw(st.lists(st.sampled_from(sorted(self.open)), unique=True, min_size=1))
        for offset in offsets:
            self.open[offset] -= 1
        gone = [offset for offset in offsets if not self.open[offset]]
        assert self.ledger.finish_all(offsets, [SIZE] * len(offsets)) == len(gone)
        for offset in gone:
            del self.open[offset]

    @rule()
    def commit(self) -> None:
        self.committed = self.ledger.committable
        self.ledger.mark_committed(self.committed)

    @invariant()
    def no_commit_passes_unfinished_work(self) -> None:
        expected = min(self.open, default=self.position)
        assert self.ledger.committable == expected
        assert self.ledger.oldest == min(self.open, default=None)

    @invariant()
    def ranges_hold_all_that_is_finished_above_the_prefix_and_nothing_unfinished(self) -> None:
        told = all_in(self.ledger.finished_above())
        above = {offset for offset in self.given if offset > self.ledger.committable}
        assert told & self.given == above - set(self.open)
        assert {offset for offset in told if offset >= self.position} == {
            offset for offset in self.known if offset >= self.position
        }

    @invariant()
    def ranges_rise_from_the_prefix_on(self) -> None:
        edges = [edge for each in self.ledger.finished_above() for edge in each]
        assert edges == sorted(edges)
        assert min(edges, default=self.ledger.committable) >= self.ledger.committable

    @invariant()
    def what_is_unfinished_is_counted(self) -> None:
        assert self.ledger.unfinished == len(self.open)
        assert self.ledger.bytes_unfinished == SIZE * len(self.open)

    @invariant()
    def room_is_what_the_span_leaves(self) -> None:
        assert self.ledger.room == max(0, self.committed + self.span - self.position)


TestLedgerAgainstAPlainModel = LedgerAgainstAPlainModel.TestCase


def test_a_commit_that_was_begun_is_news_until_it_is_stored() -> None:
    ledger = Ledger(0, 100)
    ledger.begin_commit()
    ledger.mark_committed(0)
    ledger.enter(0, 1)
    ledger.enter(1, 1)
    ledger.finish(1, 1)
    assert ledger.has_news
    ledger.begin_commit()
    assert ledger.finished_since_commit == 0
    assert ledger.has_news
    ledger.begin_commit()
    ledger.mark_committed(0)
    assert not ledger.has_news
