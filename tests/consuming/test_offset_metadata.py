"""What was finished travels with the commit, and damage on the way only ever means repeats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.consuming.offset_metadata import (
    MAX_CHARACTERS,
    PREFIX,
    FinishedRanges,
    Range,
    decode,
    encode,
)

NOW = 1_767_225_600_000

offsets = st.integers(0, 2**63 - 2**40)


@st.composite
def finished(draw: st.DrawFn) -> tuple[int, list[Range]]:
    """A committed offset and ranges above it, which never touch one another."""
    committed = end = draw(offsets)
    ranges = []
    for ahead, length in draw(st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), max_size=40)):
        ranges.append(Range(end + ahead, end + ahead + length))
        end = ranges[-1].end
    return committed, ranges


def all_finished(known: FinishedRanges, candidates: list[int], timestamp_ms: int = NOW) -> set[int]:
    return {offset for offset in sorted(candidates) if known.has_finished(offset, timestamp_ms)}


def interesting(committed: int, ranges: list[Range]) -> list[int]:
    edges = [edge for each in ranges for edge in (each.start - 1, each.start, each.end - 1, each.end)]
    return sorted({committed, *edges})


@given(finished())
def test_what_was_written_is_read(case: tuple[int, list[Range]]) -> None:
    committed, ranges = case

    known = decode(encode(committed, ranges, NOW), committed)

    expected = {n for n in interesting(committed, ranges) if any(r.start <= n < r.end for r in ranges)}
    assert all_finished(known, interesting(committed, ranges)) == expected


@given(finished(), st.data())
def test_a_wrong_character_never_marks_an_unfinished_record_finished(
    case: tuple[int, list[Range]], data: st.DataObject
) -> None:
    committed, ranges = case
    text = encode(committed, ranges, NOW)
    if not text:
        return
    at = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.characters(codec="utf-8"))
    damaged = text[:at] + wrong + text[at + 1 :]

    found = all_finished(decode(damaged, committed), interesting(committed, ranges))

    assert found <= all_finished(decode(text, committed), interesting(committed, ranges))


@given(st.text(max_size=60), offsets)
def test_foreign_text_means_nothing_known(text: str, committed: int) -> None:
    assert not decode(text, committed)
    assert not decode(PREFIX + text, committed) or text == ""


@given(finished())
def test_text_about_another_offset_means_nothing_known(case: tuple[int, list[Range]]) -> None:
    committed, ranges = case

    assert not decode(encode(committed, ranges, NOW), committed + 1)


@pytest.mark.parametrize("other", ["+", "/", "=", "\n", " ", "ä"])
def test_a_character_of_another_alphabet_means_nothing_known(other: str) -> None:
    """Base64 of the usual alphabet is no text of ours, whatever its checksum says."""
    ours = next(
        text
        for at_ms in range(NOW, NOW + 1000)
        if set(text := encode(7, [Range(9, 12)], at_ms)) >= {"-", "_"}
    )
    assert all_finished(decode(ours, 7), [9], NOW)
    for foreign in (ours.replace("-", other), ours.replace("_", other), ours + other):
        assert not all_finished(decode(foreign, 7), [9], NOW)


def test_text_of_a_newer_version_means_nothing_known() -> None:
    text = encode(0, [Range(5, 9)], NOW)

    assert not decode(text.replace("cm1:", "cm2:"), 0)


def test_ten_thousand_alternating_offsets_are_cut_to_what_fits() -> None:
    ranges = [Range(n, n + 1) for n in range(1, 10_000, 2)]

    text = encode(0, ranges, NOW)

    assert len(text) <= MAX_CHARACTERS
    found = all_finished(decode(text, 0), list(range(10_000)))
    assert 1_000 <= len(found) < 5_000
    assert found == set(range(1, 2 * len(found), 2)), "the lowest ones are kept"


def test_nothing_finished_is_no_text() -> None:
    assert encode(7, [], NOW) == ""


@pytest.mark.parametrize("gone", [[], [3], [3, 9]])
def test_offsets_that_never_come_are_passed_over(gone: list[int]) -> None:
    known = FinishedRanges([Range(2, 5), Range(9, 12)], NOW)

    asked = [n for n in range(14) if n not in gone]

    assert all_finished(known, asked) == {2, 3, 4, 9, 10, 11} - set(gone)


def test_a_record_younger_than_the_commit_is_handled_whatever_the_ranges_say() -> None:
    """A topic deleted and made anew has other records at the same offsets."""
    known = FinishedRanges([Range(2, 5)], NOW)

    assert not known.has_finished(2, NOW + 1)
    assert known.has_finished(3, NOW)
