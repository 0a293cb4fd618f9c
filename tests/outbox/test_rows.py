"""A row is the record that it was made of, and its lane is the same in every process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.outbox.rows import lane_of, read_headers, short_id, written_headers
from convex_messaging_fastapi.outbox.tables import ID_CHARS, LANES

names = st.text(st.characters(exclude_categories=["Cs"]))
headers = st.lists(st.tuples(names, st.none() | st.binary()), max_size=8).map(tuple)


@given(headers)
def test_headers_come_back_with_their_order_their_repeats_and_their_bytes(
    told: tuple[tuple[str, bytes | None], ...],
) -> None:
    assert read_headers(written_headers(told)) == told


@pytest.mark.parametrize("text", ["{}", "[1]", '[["a"]]', '[["a", 1]]', '[["a", {"b64": "!"}]]', "no JSON"])
def test_what_nobody_of_ours_has_written_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_headers(text)


@given(st.none() | st.binary(), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_lane_is_one_of_64_and_that_of_the_key_where_there_is_one(
    key: bytes | None, message_id: str
) -> None:
    lane = lane_of(key, message_id)
    assert 0 <= lane < LANES
    assert key is None or lane == lane_of(key, "another")


def test_every_process_has_the_same_lanes() -> None:
    """With `hash()` each process would have lanes of its own."""
    script = (
        "from convex_messaging_fastapi.outbox.rows import lane_of;"
        "print([lane_of(b'key %d' % n, '') for n in range(200)]"
        "+ [lane_of(None, str(n)) for n in range(200)])"
    )
    told = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(1)
    }
    here = [lane_of(b"key %d" % n, "") for n in range(200)] + [lane_of(None, str(n)) for n in range(200)]
    assert told == {f"{here}\n"}
    assert len(set(here)) == LANES


def test_a_long_id_is_told_by_its_sum() -> None:
    longest = "x" * ID_CHARS
    assert short_id(longest) == longest
    assert short_id(f"{longest}y") != short_id(f"{longest}z")
    assert short_id(f"{longest}y").startswith("sha256:")
    assert len(short_id(f"{longest}y")) <= ID_CHARS
