"""The ledger never lets a commit pass unfinished work, whatever the order in which work ends."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from convex_messaging_fastapi.consuming.ledger import Ledger

SIZE = 10


def ledger(start: int = 0, max_span: int = 100) -> Ledger:
    return Ledger(start, max_span)


def test_nothing_may_be_committed_before_anything_is_finished() -> None:
    book = ledger(start=7)
    book.take(7, SIZE)

    assert book.committable == 7


def test_a_later_offset_that_is_finished_first_moves_nothing() -> None:
    book = ledger()
    book.take(0, SIZE)
    book.take(1, SIZE)

    book.finish(1, SIZE)

    assert (book.committable, book.oldest, book.unfinished) == (0, 0, 1)


def test_the_prefix_grows_over_everything_that_was_finished_early() -> None:
    book = ledger()
    for offset in range(4):
        book.take(offset, SIZE)

    for offset in (2, 1, 0):
        book.finish(offset, SIZE)

    assert book.committable == 3


def test_a_gap_in_the_log_is_passed_only_once_the_fetch_position_has_passed_it() -> None:
    book = ledger()
    book.take(0, SIZE)
    book.finish(0, SIZE)
    assert book.committable == 1

    book.advance(5)  # transaction markers and compacted records at 1 to 4

    assert book.committable == 5


def test_a_record_of_two_subscriptions_is_finished_when_both_have_finished_it() -> None:
    book = ledger()
    book.take(0, SIZE, owners=2)

    assert book.finish(0, SIZE) is False
    assert book.committable == 0

    assert book.finish(0, SIZE) is True
    assert book.committable == 1


def test_a_record_that_nobody_handles_is_passed_over() -> None:
    book = ledger()
    book.take(0, SIZE, owners=0)

    assert (book.committable, book.unfinished) == (1, 0)


def test_room_is_the_span_from_the_committed_to_the_highest_handed_out_offset() -> None:
    book = ledger(start=100, max_span=3)
    assert book.room == 3

    for offset in (100, 101, 102):
        book.take(offset, SIZE)
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
    book.take(4, SIZE)

    with pytest.raises(ValueError, match="offset 4 was handed out already"):
        book.take(4, SIZE)


class LedgerAgainstAPlainModel(RuleBasedStateMachine):
    """Random hand-outs, gaps, completions and commits, beside a model that only keeps sets."""

    @initialize(start=st.integers(0, 50), span=st.integers(1, 30))
    def begin(self, start: int, span: int) -> None:
        self.ledger = Ledger(start, span)
        self.span = span
        self.position = self.committed = start
        self.open: dict[int, int] = {}

    @precondition(lambda self: self.ledger.room > 0)
    @rule(gap=st.integers(0, 3), owners=st.integers(0, 3))
    def take(self, gap: int, owners: int) -> None:
        offset = self.position + gap
        self.ledger.take(offset, SIZE, owners)
        self.position = offset + 1
        if owners:
            self.open[offset] = owners

    @rule(gap=st.integers(0, 5))
    def advance(self, gap: int) -> None:
        self.position += gap
        self.ledger.advance(self.position)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.open)))
        self.open[offset] -= 1
        done = self.ledger.finish(offset, SIZE)
        assert done is (self.open[offset] == 0)
        if done:
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
    def what_is_unfinished_is_counted(self) -> None:
        assert self.ledger.unfinished == len(self.open)
        assert self.ledger.bytes_unfinished == SIZE * len(self.open)

    @invariant()
    def room_is_what_the_span_leaves(self) -> None:
        assert self.ledger.room == max(0, self.committed + self.span - self.position)


TestLedgerAgainstAPlainModel = LedgerAgainstAPlainModel.TestCase
