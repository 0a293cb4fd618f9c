"""Finds what a list counts in a letter as we write it, without parsing it: that takes a third of the time.

The message, which may be large, stands before what is looked for, so letters are searched from their end.
Inside a text of JSON a quotation mark stands behind a backslash, never behind a comma: what is found is the
name of a field.
"""

from __future__ import annotations

from itertools import product

from jiter import from_json

from convex_messaging_fastapi.messages.dead_letter import DeadLetterMessage
from convex_messaging_fastapi.messages.headers import MESSAGE_ID, outgoing_headers
from convex_messaging_fastapi.operations.letters.fields import Fields
from convex_messaging_fastapi.records import Record

_OURS = outgoing_headers(
    message_type=DeadLetterMessage.__name__, unix_seconds=0, message_id="", correlation_id=None
)
_NAMES = dict(_OURS).keys()

_TOPIC = b'{"OriginalTopic":"'
_WITHIN = len(_TOPIC) + 512
"""Of a topic's name Kafka takes 249 characters."""
_ERROR = b',"ErrorMessage":'
_FAILED_AT = b',"FailedAt":"'
_KIND = b'],"ExceptionType":'
_STACK = b',"StackTrace":'
_FRAME = b',"Frame":"'
_GROUP = b',"ConsumerGroup":'
_MESSAGE_ID = b',"MessageId":'
_OF_DECODING = b'.DecodeError"'
_QUOTE = ord('"')
_MAX_TIME = 40
_ENDS = tuple(
    b',"ReplayCount":0,"PayloadOmitted":%b,"KeyOmitted":%b,"HeadersOmitted":%b}' % omitted
    for omitted in product((b"false", b"true"), repeat=3)
)

Alike = tuple[bytes, ...]
"""What letters of one group have in common, byte for byte."""


def glance_at(record: Record) -> tuple[Alike, bytes, bytes | None] | None:
    """What a letter has in common with its group, when it failed, and its `identity` as in `Told`.

    `None` where it is not as we write it, is about a replay, or names no place in the code. What is not
    looked at may turn out later to be no JSON.
    """
    value, headers = record.value, dict(record.headers)
    if (
        value is None
        or headers.keys() != _NAMES
        or not value.startswith(_TOPIC)
        or not value.endswith(_ENDS)
        or (topic := value.find(b',"', 0, _WITHIN)) < 0
        or (behind := value.rfind(_MESSAGE_ID, topic)) < 0
        or (kind := value.rfind(_KIND, topic, behind)) < 0
        or (stack := value.find(_STACK, kind, behind)) < 0
        or (failed_at := value.rfind(_FAILED_AT, topic, kind) + len(_FAILED_AT)) < topic
        or (end := value.find(b'"', failed_at, failed_at + _MAX_TIME)) < 0
    ):
        return None
    frame = value.rfind(_FRAME, stack, behind)
    if frame >= 0 and value[frame + len(_FRAME)] != _QUOTE:
        alike: Alike = value[:topic], value[kind + 1 : stack], value[frame:behind]
    elif frame < 0 and value.endswith(_OF_DECODING, kind, stack):
        # Its fields, in the text, stand in for a frame.
        text = value[value.rfind(_ERROR, topic, failed_at) : failed_at - len(_FAILED_AT)]
        alike = (
            value[:topic],
            value[kind + 1 : stack],
            text,
            value[value.rfind(_GROUP, stack, behind) : behind],
        )
    else:
        return None
    return alike, value[failed_at:end], headers[MESSAGE_ID]


def fields_alike(alike: Alike) -> Fields | None:
    """The fields that letters have in common; `None` where they are not as we write them."""
    try:
        fields = from_json(b"".join(alike) + b"}", allow_inf_nan=False)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("OriginalTopic"), str):
        return None
    return fields


def without_message(record: Record) -> Record:
    """The same of a letter at which `glance_at` could look."""
    value = record.value or b""
    return record._replace(value=value[: value.find(b',"', 0, _WITHIN)] + value[value.rfind(_ERROR) :])
