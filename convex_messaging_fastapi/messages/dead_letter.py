"""The dead letter as it is written, and the original that it gives back byte for byte."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any, cast

from pydantic import Field, GetJsonSchemaHandler, SerializerFunctionWrapHandler, model_serializer
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from convex_messaging_fastapi.errors import DecodeError
from convex_messaging_fastapi.messages.convex_message import ConvexMessage
from convex_messaging_fastapi.records import Headers


def _named(alias: str, default: Any) -> Any:
    """A field whose plain name is taken by the method that gives the original bytes back."""
    return Field(default=default, validation_alias=alias, serialization_alias=alias)


class OriginalHeader(ConvexMessage):
    """One header: its value as text, or in base64 where it is not UTF-8; neither means null."""

    name: str
    value: str | None = None
    value_base64: str | None = None


class DeadLetterMessage(ConvexMessage):
    """A message that could not be handled, and why. The first five names are shared with .NET.

    The value is in `original_message` when it is UTF-8, else in `original_message_base64`; in
    neither when it was null, or when `payload_omitted` says that it was too large: then
    `original_topic`, `original_partition` and `original_offset` say where it is. `headers_omitted` and
    `key_omitted` say the same of headers and key; the dead letter's own record still has the key, unless
    that was too large as well.

    A batch that could not be read has one dead letter, which holds none of its records: they are those
    from `original_offset` to `original_last_offset`, both included. `original_last_offset` is `None`
    otherwise.

    `frame` is the place in the user's own code where it failed, `app/payments.py:41 in charge`; `None`
    where no code of the user's was running, as when a message cannot be decoded.
    """

    original_topic: str
    original_message: str | None = None
    original_message_base64: str | None = None
    error_message: str
    failed_at: datetime

    original_partition: int | None = None
    original_offset: int | None = None
    original_last_offset: int | None = None
    original_timestamp: datetime | None = None
    original_key_text: str | None = _named("OriginalKey", default=None)
    original_key_base64: str | None = None
    original_header_list: list[OriginalHeader] = _named("OriginalHeaders", default=[])
    exception_type: str | None = None
    stack_trace: str | None = None
    frame: str | None = None
    attempts: int | None = None
    consumer_group: str | None = None
    handler: str | None = None
    message_id: str | None = None
    replay_count: int = 0
    payload_omitted: bool = False
    key_omitted: bool = False
    headers_omitted: bool = False

    @model_serializer(mode="wrap")
    def _without_what_most_have_not(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if self.original_last_offset is None:
            for name in ("OriginalLastOffset", "original_last_offset"):
                written.pop(name, None)
        if self.frame is None:
            for name in ("Frame", "frame"):
                written.pop(name, None)
        return written

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # Of what a serialiser writes no schema is known; this one writes the fields, but for two at most.
        return handler(cast("core_schema.CoreSchema", {**schema, "serialization": None}))

    @property
    def was_null(self) -> bool:
        """Whether the original was a tombstone."""
        return (
            not self.payload_omitted
            and self.original_message is None
            and self.original_message_base64 is None
        )

    def original_value(self) -> bytes | None:
        """The exact bytes; `None` where the original was null.

        Raises `DecodeError` when the letter does not hold them.
        """
        if self.payload_omitted:
            raise self._not_here("value")
        return from_text(self.original_message, self.original_message_base64)

    def original_key(self) -> bytes | None:
        """The exact bytes of the original's key, `None` where it had none; raises as `original_value`."""
        if self.key_omitted:
            raise self._not_here("key")
        return from_text(self.original_key_text, self.original_key_base64)

    def original_headers(self) -> Headers:
        """The original's headers exactly as they came; raises as `original_value`."""
        if self.headers_omitted:
            raise self._not_here("headers")
        return tuple((h.name, from_text(h.value, h.value_base64)) for h in self.original_header_list)

    def _not_here(self, what: str) -> DecodeError:
        place = f"partition {self.original_partition}, offset {self.original_offset}"
        if self.original_last_offset is not None:
            return DecodeError(
                f"the letter does not hold the original's {what}: its batch could not be read, which stands "
                f"at {place} to {self.original_last_offset} of its topic"
            )
        return DecodeError(
            f"the letter does not hold the original's {what}, which would have made it too large: read it at "
            f"{place} of its topic"
        )


def from_text(text: str | None, in_base64: str | None) -> bytes | None:
    """Raises `DecodeError` where the base64 is none."""
    if in_base64 is None:
        return None if text is None else text.encode()
    try:
        return base64.b64decode(in_base64, validate=True)
    except (binascii.Error, ValueError):
        raise DecodeError("the letter holds base64 that is none") from None


def as_text(value: bytes | None) -> tuple[str | None, str | None]:
    """`value` as text and in base64, one of which is `None`: text wherever it is UTF-8."""
    if value is None:
        return None, None
    try:
        return value.decode(), None
    except UnicodeDecodeError:
        return None, as_base64(value)


def as_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
