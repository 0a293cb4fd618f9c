"""The dead letter as others write and read it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from convex_messaging_fastapi.errors import DecodeError
from convex_messaging_fastapi.messages import DeadLetterMessage, codec_for, encode


def read(value: bytes) -> DeadLetterMessage:
    letter = codec_for(DeadLetterMessage).decode(value)
    assert isinstance(letter, DeadLetterMessage)
    return letter


def test_a_letter_with_only_the_classic_fields_is_read() -> None:
    letter = read(
        b'{"OriginalTopic":"convex.user.created","OriginalMessage":"{\\"UserId\\":1}",'
        b'"ErrorMessage":"Boom","FailedAt":"2026-01-01T00:00:00.1234567Z"}'
    )
    assert letter.original_topic == "convex.user.created"
    assert letter.original_value() == b'{"UserId":1}'
    assert letter.error_message == "Boom"
    assert letter.failed_at == datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)
    assert letter.original_key() is None
    assert letter.original_headers() == ()
    assert letter.original_partition is None
    assert letter.replay_count == 0
    assert not letter.was_null


def test_nothing_in_it_means_a_null_value_and_empty_text_an_empty_one() -> None:
    frame = b'{"OriginalTopic":"t","OriginalMessage":%s,"ErrorMessage":"e","FailedAt":"2026-01-01T00:00:00Z"}'
    null, empty = read(frame % b"null"), read(frame % b'""')
    assert (null.was_null, null.original_value()) == (True, None)
    assert (empty.was_null, empty.original_value()) == (False, b"")


def test_base64_stands_before_text_and_wrong_base64_is_an_error_that_says_so() -> None:
    frame = (
        b'{"OriginalTopic":"t","OriginalMessageBase64":"%s","OriginalMessage":"x","ErrorMessage":"e",'
        b'"FailedAt":"2026-01-01T00:00:00Z"}'
    )
    assert read(frame % b"/wA=").original_value() == b"\xff\x00"
    for wrong in (b"!!", b"a", "ñ".encode()):
        with pytest.raises(DecodeError, match="base64"):
            read(frame % wrong).original_value()


def test_what_a_letter_had_to_leave_out_is_not_taken_for_null() -> None:
    letter = DeadLetterMessage(
        original_topic="t",
        error_message="e",
        failed_at=datetime(2026, 1, 1, tzinfo=UTC),
        original_partition=3,
        original_offset=42,
        payload_omitted=True,
        key_omitted=True,
        headers_omitted=True,
    )
    assert not letter.was_null
    for ask in (letter.original_value, letter.original_key, letter.original_headers):
        with pytest.raises(DecodeError, match="partition 3, offset 42"):
            ask()


def of_a_batch(**changes: Any) -> DeadLetterMessage:
    return DeadLetterMessage(
        original_topic="t",
        error_message="e",
        failed_at=datetime(2026, 1, 1, tzinfo=UTC),
        original_partition=3,
        original_offset=42,
        **changes,
    )


def test_the_last_offset_is_written_only_of_a_batch_that_could_not_be_read() -> None:
    """Whoever reads letters by their exact bytes sees no other than before."""
    one, several = encode(of_a_batch()), encode(of_a_batch(original_last_offset=49))
    assert b"LastOffset" not in one
    assert several == one.replace(b'"OriginalOffset":42', b'"OriginalOffset":42,"OriginalLastOffset":49')
    assert read(several).original_last_offset == 49
    assert "original_last_offset" not in of_a_batch().model_dump(by_alias=False)


def test_what_could_not_be_read_is_not_called_too_large() -> None:
    letter = of_a_batch(original_last_offset=49, payload_omitted=True, key_omitted=True, headers_omitted=True)
    assert not letter.was_null
    for ask in (letter.original_value, letter.original_key, letter.original_headers):
        with pytest.raises(DecodeError, match=r"could not be read, .* partition 3, offset 42 to 49"):
            ask()


@pytest.mark.parametrize("mode", ["serialization", "validation"])
def test_its_schema_names_every_field(mode: Literal["serialization", "validation"]) -> None:
    fields = DeadLetterMessage.model_json_schema(mode=mode)["properties"]
    assert len(fields) == len(DeadLetterMessage.model_fields)
    assert "OriginalLastOffset" in fields
