"""The headers that we write, in their order, and what users may say about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.records import Headers

MESSAGE_TYPE = "message-type"
TIMESTAMP = "timestamp"
MESSAGE_ID = "message-id"
CORRELATION_ID = "correlation-id"
CAUSATION_ID = "causation-id"
CONTENT_TYPE = "content-type"

RESERVED = frozenset({MESSAGE_TYPE, TIMESTAMP, CONTENT_TYPE})
"""Headers that only we can set, since they describe the bytes we write; for raw bytes only the time."""

Header = tuple[str, bytes | None]

_JSON: Header = (CONTENT_TYPE, b"application/json")
_RAW: Header = (CONTENT_TYPE, b"application/octet-stream")


def outgoing_headers(
    *,
    message_type: str | None,
    unix_seconds: float,
    message_id: str | bytes,
    correlation_id: str | None,
    causation_id: str | None = None,
    user: Mapping[str, str | bytes] | None = None,
    trace: Mapping[str, str] | None = None,
) -> Headers:
    """Our headers, then the trace's, then the user's. The correlation id defaults to the message's id.

    `causation_id` is the id of the message that caused this one, if one did. A user may set
    `message-id`, `correlation-id`, `causation-id` and the trace's own names, which then replace
    ours. Raises `EncodeError` for `message-type`, `timestamp` and `content-type`, and for
    a value that is neither text nor bytes. Without a `message_type` the message is raw bytes, of which
    a user may say both type and content.
    """
    own = message_id if isinstance(message_id, bytes) else _encoded(MESSAGE_ID, message_id)
    ours = _ours(
        message_type,
        _time_header(int(unix_seconds)),
        own,
        own if correlation_id is None else _encoded(CORRELATION_ID, correlation_id),
    )
    if causation_id is not None:
        ours += ((CAUSATION_ID, _encoded(CAUSATION_ID, causation_id)),)
    if trace:
        ours += _traces(trace)
    return ours if not user else _with_theirs(ours, _allowed(dict(_checked(user)), message_type))


def headers_for_many(
    *,
    unix_seconds: float,
    correlation_id: str | None,
    causation_id: str | None = None,
    user: Mapping[str, str | bytes] | None = None,
    trace: Mapping[str, str] | None = None,
) -> Callable[[str | None, bytes], Headers]:
    """What `outgoing_headers` gives for each `message_type` and `message_id`; the rest is encoded once."""
    time = _time_header(int(unix_seconds))
    correlation = None if correlation_id is None else _encoded(CORRELATION_ID, correlation_id)
    rest: Headers = () if causation_id is None else ((CAUSATION_ID, _encoded(CAUSATION_ID, causation_id)),)
    rest += _traces(trace) if trace else ()
    theirs = dict(_checked(user)) if user else {}

    def headers_of(message_type: str | None, message_id: bytes) -> Headers:
        ours = _ours(message_type, time, message_id, message_id if correlation is None else correlation)
        if rest:
            ours += rest
        return _with_theirs(ours, _allowed(theirs, message_type)) if theirs else ours

    return headers_of


def _ours(message_type: str | None, time: Header, message_id: bytes, correlation_id: bytes) -> Headers:
    if message_type is None:
        return time, (MESSAGE_ID, message_id), (CORRELATION_ID, correlation_id), _RAW
    return (
        _type_header(message_type),
        time,
        (MESSAGE_ID, message_id),
        (CORRELATION_ID, correlation_id),
        _JSON,
    )


def _traces(trace: Mapping[str, str]) -> Headers:
    return tuple((name, value.encode()) for name, value in trace.items())


# These two say the same for many messages in a row.
@lru_cache(maxsize=1024)
def _type_header(message_type: str) -> Header:
    return MESSAGE_TYPE, _encoded(MESSAGE_TYPE, message_type)


@lru_cache(maxsize=2)
def _time_header(unix_seconds: int) -> Header:
    return TIMESTAMP, b"%d" % unix_seconds


def _with_theirs(ours: Headers, theirs: Mapping[str, bytes]) -> Headers:
    names = {name for name, _ in ours}
    replaced = tuple((name, theirs.get(name, value)) for name, value in ours)
    return replaced + tuple((name, value) for name, value in theirs.items() if name not in names)


def _checked(user: Mapping[str, str | bytes]) -> Iterator[tuple[str, bytes]]:
    for name, value in user.items():
        if not isinstance(name, str):
            raise EncodeError(f"the name of a header is text, not {type(name).__name__}")
        _encoded("name", name)
        yield name, value if isinstance(value, bytes) else _encoded(name, value)


def _allowed(theirs: Mapping[str, bytes], message_type: str | None) -> Mapping[str, bytes]:
    if RESERVED.isdisjoint(theirs):
        return theirs
    for name in RESERVED.intersection(theirs):
        if message_type is not None or name == TIMESTAMP:
            raise EncodeError(
                f"the header {name!r} describes what is on the wire and is written for you: leave it out, "
                "or give yours another name (of bytes you may say content-type and message-type)"
            )
    return theirs


def _encoded(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise EncodeError(
            f"the header {name!r} is str or bytes, not {type(value).__name__}: use str(...) of it"
        )
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise EncodeError(f"the header {name!r} cannot be written as UTF-8: {error.reason}") from error
