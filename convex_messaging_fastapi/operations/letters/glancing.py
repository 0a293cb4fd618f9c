"""Finds what a list counts in a letter as we write it, without parsing it: that takes a third of the time.

The message, which may be large, stands before what is looked for, so letters are searched from their end.
Inside a text of JSON a quotation mark stands behind a backslash, never behind a comma: what is found is the
name of a field.
"""

from __future__ import annotations

from typing import NamedTuple

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
_ATTEMPTS = b',"Attempts":'
_GROUP = b',"ConsumerGroup":'
_MESSAGE_ID = b',"MessageId":'
_NOT_REPLAYED = b',"ReplayCount":0,"PayloadOmitted":'
_OF_DECODING = b'.DecodeError"'
_QUOTE = ord('"')
_MAX_ERROR = 8 * 1024
_MAX_TIME = 40


class Glance(NamedTuple):
    """What a letter tells at a glance.

    `alike` is a JSON object of the fields that its group is made of, `error` the field of its text, in the
    middle of an object. `failed_at` is a text without its quotation marks. `identity` is as in `Told`.
    """

    alike: bytes
    error: bytes
    failed_at: bytes
    identity: bytes | None

    def fields(self) -> Fields:
        """Those of the group, and the text; none where they turn out to be no JSON."""
        return fields_alike(self.alike[:-1] + self.error + b"}") or {}


def glance_at(record: Record) -> Glance | None:
    """`None` where the letter is not as we write it, is about a replay, or names no place in the code.

    What is not looked at may turn out later to be no JSON.
    """
    value, headers = record.value, dict(record.headers)
    if value is None or headers.keys() != _NAMES or not value.startswith(_TOPIC):
        return None
    topic, end = value.find(b',"', 0, _WITHIN), value.rfind(_NOT_REPLAYED)
    group = value.rfind(_GROUP, 0, max(end, 0))
    kind = value.rfind(_KIND, 0, max(group, 0))
    failed_at = value.rfind(_FAILED_AT, 0, max(kind, 0))
    error = value.rfind(_ERROR, max(failed_at - _MAX_ERROR, 0), max(failed_at, 0))
    if topic < 0 or error < topic:
        return None
    text, begin = value[error:failed_at], failed_at + len(_FAILED_AT)
    stack, behind = value.find(_STACK, kind, group), value.find(_MESSAGE_ID, group, end)
    frame, attempts = value.rfind(_FRAME, kind, group), value.rfind(_ATTEMPTS, kind, group)
    if frame >= 0 and value[frame + len(_FRAME)] != _QUOTE:
        place = value[frame:attempts]
    elif frame < 0 and value.endswith(_OF_DECODING, kind, stack):
        place = text  # its fields stand in for a frame
    else:
        return None
    said_at = value.find(b'"', begin, begin + _MAX_TIME)
    if min(stack, behind, attempts, said_at) < 0:
        return None
    alike = b"%b%b%b%b}" % (value[:topic], value[kind + 1 : stack], place, value[group:behind])
    return Glance(alike, text, value[begin:said_at], headers[MESSAGE_ID])


def fields_alike(alike: bytes) -> Fields | None:
    """The fields of `Glance.alike`; `None` where they are not as we write them."""
    try:
        fields = from_json(alike, allow_inf_nan=False)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
