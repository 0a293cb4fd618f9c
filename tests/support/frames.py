"""What a proxy does with Kafka's frames, as values and decisions; `proxy` acts on them.

A frame is four bytes of size and so many bytes more. A request's begin with its API key, its
version, a correlation id and the client's id, an answer's with the correlation id alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import NamedTuple

UNKNOWN = -1
"""The API of bytes that are no whole frame, and of answers that nobody asked for."""

_SIZE = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")
_CLIENT = struct.Struct(">h")
_ANSWER = struct.Struct(">i")


class Api(IntEnum):
    """The keys that tests name."""

    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    OFFSET_COMMIT = 8
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14


class Fate(Enum):
    """What befalls a frame in place of being passed on."""

    DROP = auto()
    """It vanishes; what follows it passes. A client notices that the next answer is not its own."""
    HOLD = auto()
    """It waits, and whatever follows it on its connection behind it."""
    RESET = auto()
    """Its connection is reset in its stead, both sides of it."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What happens to the frames that go one way. Times are in seconds."""

    all: Fate | None = None
    delay: float = 0.0
    jitter: float = 0.0
    """Up to so much more delay; the order of a connection stays."""
    bytes_a_second: float | None = None
    fates: Mapping[int, Fate] = field(default_factory=dict)
    """By the API key of a request, or of the request that an answer belongs to."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to frames to the broker, to those back, and to clients that come."""

    there: Flow = Flow()
    back: Flow = Flow()
    refuse: bool = False
    """Whoever comes is turned away by a reset."""


PASS = Rule()
BLACK_HOLE = Rule(Flow(Fate.HOLD), Flow(Fate.HOLD))
"""Bytes are held, sockets stay open; ends of connections are not told either."""
MUTE, DEAF = Rule(there=Flow(Fate.HOLD)), Rule(back=Flow(Fate.HOLD))
"""Half-open: the broker hears nothing, or the client does."""
FORGOTTEN = Rule(Flow(Fate.DROP), Flow(Fate.DROP))
"""As by a firewall that has lost its table: nothing arrives, and nobody is told."""
REFUSED = Rule(refuse=True)


def slow(delay: float, jitter: float = 0.0) -> Rule:
    """Each way takes so long."""
    return Rule(Flow(delay=delay, jitter=jitter), Flow(delay=delay, jitter=jitter))


def narrow(bytes_a_second: float) -> Rule:
    """Each way of each connection."""
    return Rule(Flow(bytes_a_second=bytes_a_second), Flow(bytes_a_second=bytes_a_second))


def answers(api: Api, fate: Fate) -> Rule:
    """The broker does what it is asked, and its answers have this fate."""
    return Rule(back=Flow(fates={api: fate}))


class Frame(NamedTuple):
    """When it was read (the loop's time), and by how much of the jitter it is late, 0 to 1.

    The one that ends a connection has no bytes.
    """

    data: bytes
    api: int
    at: float
    luck: float = 0.0


class Step(Enum):
    SEND = auto()
    WAIT = auto()
    DROP = auto()
    RESET = auto()


def decide(flow: Flow, frame: Frame, now: float) -> Step:
    """What to do with the first frame of those that wait."""
    match flow.all or flow.fates.get(frame.api):
        case Fate.HOLD:
            return Step.WAIT
        case Fate.DROP if frame.data:
            return Step.DROP
        case Fate.RESET:
            return Step.RESET
    return Step.SEND if now >= due(flow, frame) else Step.WAIT


def due(flow: Flow, frame: Frame) -> float:
    return frame.at + flow.delay + flow.jitter * frame.luck


def take_whole(buffer: bytearray) -> Iterator[bytes]:
    """Takes the whole frames out of what was read, in order."""
    while len(buffer) >= _SIZE.size:
        end = _SIZE.size + int(_SIZE.unpack_from(buffer)[0])
        if len(buffer) < end:
            return
        frame = bytes(buffer[:end])
        del buffer[:end]
        yield frame


class Conversation:
    """Remembers the requests of one connection that have no answer yet, and whose they are."""

    def __init__(self) -> None:
        self.client = ""
        self._asked: dict[int, int] = {}

    def asked(self, frame: bytes) -> int:
        """The API that a request is for."""
        if len(frame) < _SIZE.size + _REQUEST.size:
            return UNKNOWN
        api, _, correlation = _REQUEST.unpack_from(frame, _SIZE.size)
        self._asked[correlation] = api
        self.client = self.client or _client_of(frame)
        return int(api)

    def answered(self, frame: bytes) -> int:
        """The API that an answer is of."""
        if len(frame) < _SIZE.size + _ANSWER.size:
            return UNKNOWN
        return self._asked.pop(_ANSWER.unpack_from(frame, _SIZE.size)[0], UNKNOWN)


def _client_of(frame: bytes) -> str:
    """Nothing, where it has no name."""
    at = _SIZE.size + _REQUEST.size
    if len(frame) < at + _CLIENT.size:
        return ""
    (length,) = _CLIENT.unpack_from(frame, at)
    at += _CLIENT.size
    return frame[at : at + max(0, length)].decode(errors="replace")
