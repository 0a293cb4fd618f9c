"""A commit's metadata tells which topic it is about, and keeps what it was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.consuming.ranges import MAX_CHARACTERS
from convex_messaging_fastapi.transport.kafka.marks import marked, unmarked

OFFSET_METADATA_MAX_BYTES = 4096
IDS = st.none() | st.binary(min_size=16, max_size=16)


@given(metadata=st.text(max_size=50), topic_id=st.binary(min_size=16, max_size=16))
def test_both_come_back_whatever_they_are(metadata: str, topic_id: bytes) -> None:
    assert unmarked(marked(metadata, topic_id)) == (metadata, topic_id)


def test_without_an_id_it_is_as_it_was() -> None:
    assert marked("anything", None) == "anything"


@pytest.mark.parametrize(
    "foreign", ["", "anything", "|topic:", "|topic:short", "|topic:" + "A" * 23, "topic:"]
)
def test_the_text_of_others_is_theirs_whole(foreign: str) -> None:
    assert unmarked(foreign) == (foreign, None)


def test_it_fits_behind_the_longest_text_that_we_write() -> None:
    assert len(marked("x" * MAX_CHARACTERS, bytes(16))) <= OFFSET_METADATA_MAX_BYTES
