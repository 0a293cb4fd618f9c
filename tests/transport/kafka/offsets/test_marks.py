"""A commit's metadata tells which topic it is about, and keeps what it was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.consuming.offset_metadata import MAX_CHARACTERS
from convex_messaging_fastapi.transport.kafka.engine import TopicId
from convex_messaging_fastapi.transport.kafka.offsets.marks import marked, unmarked

OFFSET_METADATA_MAX_BYTES = 4096
HERE = "convex-messagingAAAAAAA"


@given(metadata=st.text(max_size=50), id=st.binary(min_size=16, max_size=16))
def test_both_come_back_whatever_they_are(metadata: str, id: bytes) -> None:
    assert unmarked(marked(metadata, TopicId(HERE, id))) == (metadata, TopicId(HERE, id))


@pytest.mark.parametrize("cluster", ["", "x" * 97, "a cluster", "naïve", "a|topic:b"])
def test_a_cluster_that_cannot_be_told_is_not(cluster: str) -> None:
    assert marked("anything", TopicId(cluster, bytes(16))) == "anything"


def test_without_an_id_it_is_as_it_was() -> None:
    assert marked("anything", None) == "anything"


@pytest.mark.parametrize(
    "foreign", ["", "anything", "|topic:", "|topic:short", "|topic:" + "A" * 23, "topic:"]
)
def test_the_text_of_others_is_theirs_whole(foreign: str) -> None:
    assert unmarked(foreign) == (foreign, None)


def test_it_fits_behind_the_longest_text_that_we_write() -> None:
    assert len(marked("x" * MAX_CHARACTERS, TopicId("x" * 96, bytes(16)))) <= OFFSET_METADATA_MAX_BYTES
