"""Says whether today's handlers would be given the messages of letters. It calls none and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from convex_messaging_fastapi.consuming.decode_thread import DecodeThread
from convex_messaging_fastapi.declarations import Declarations
from convex_messaging_fastapi.errors import DecodeError
from convex_messaging_fastapi.messages import Decoder
from convex_messaging_fastapi.messages.bounds import LARGE_BYTES, Bounds
from convex_messaging_fastapi.operations.values import (
    NOT_KNOWN,
    Letter,
    ValidatedAlike,
    Validation,
    Verdict,
)
from convex_messaging_fastapi.parts import Parts

MAX_SAMPLES = 20
MAX_KINDS = 1000
"""Of answers that differ; further ones are counted under one."""


class KnownHandler(NamedTuple):
    """A subscription of this app: its id, the topics on the wire that it reads, and how it reads messages."""

    group: str
    id: str
    topics: tuple[str, ...]
    decoder: Decoder


def known_handlers(declarations: Declarations, parts: Parts) -> Iterator[KnownHandler]:
    """Those of one bus, as they are declared now."""
    bounds = Bounds(parts.settings.max_message_bytes, parts.settings.max_message_items)
    for declared in declarations:
        decoder = declarations.plan_of(declared).decoder.within(bounds)
        topics = tuple(parts.naming.topic(topic) for topic in declared.topics)
        yield KnownHandler(parts.naming.group_of(declared), declared.id, topics, decoder)


class _Answer(NamedTuple):
    verdict: Verdict
    group: str
    handler: str
    reason: str


class Validator:
    """Asks these handlers' decoders, one letter after another, and counts what they say."""

    def __init__(self, handlers: Iterable[KnownHandler]) -> None:
        self._handlers = tuple(handlers)
        self._threads = DecodeThread()
        self._found: dict[_Answer, tuple[int, tuple[str, ...]]] = {}
        self._checked = 0

    async def check(self, letter: Letter) -> None:
        self._checked += 1
        for handler in self._handlers_of(letter):
            self._count(letter, await self._answer(letter, handler))

    def result(self, truncated: str) -> Validation:
        found = sorted(self._found.items(), key=lambda item: -item[1][0])
        results = tuple(ValidatedAlike(*answer, count, samples) for answer, (count, samples) in found)
        return Validation(results=results, checked=self._checked, truncated=truncated)

    def _handlers_of(self, letter: Letter) -> list[KnownHandler | _Answer]:
        """The handler that failed; where the letter does not tell, those of its topic."""
        if letter.kind == "convex" and letter.handler != NOT_KNOWN:
            return [self._named(letter)]
        found: list[KnownHandler | _Answer] = [
            each for each in self._handlers if letter.origin.topic in each.topics
        ]
        if not found:
            reason = "the letter names no handler, and none of this app reads its topic"
            found.append(_Answer("not_known_here", letter.group, letter.handler, reason))
        return found

    def _named(self, letter: Letter) -> KnownHandler | _Answer:
        of_group = [each for each in self._handlers if each.group == letter.group]
        for each in of_group:
            if each.id == letter.handler:
                return each
        if of_group:
            reason = "this app's group has no handler of this name any more"
            return _Answer("no_handler", letter.group, letter.handler, reason)
        reason = "the group is not one of this app's"
        return _Answer("not_known_here", letter.group, letter.handler, reason)

    async def _answer(self, letter: Letter, handler: KnownHandler | _Answer) -> _Answer:
        if isinstance(handler, _Answer):
            return handler
        verdict: Verdict = "accepted"
        reason = "would be accepted"
        if "value" in letter.omitted or letter.kind == "unreadable":
            verdict, reason = "not_in_letter", "the letter does not hold the message"
        elif (error := await self._error(letter, handler.decoder)) is not None:
            verdict, reason = "refused", error
        return _Answer(verdict, handler.group, handler.id, reason)

    async def _error(self, letter: Letter, decoder: Decoder) -> str | None:
        def decode(value: bytes | None) -> None:
            decoder.decode(value, letter.headers)

        try:
            if letter.value is not None and len(letter.value) > LARGE_BYTES and not decoder.is_raw:
                await self._threads.read(decode, letter.value)
            else:
                decode(letter.value)
        except DecodeError as error:
            return str(error)
        return None

    def _count(self, letter: Letter, answer: _Answer) -> None:
        if answer not in self._found and len(self._found) >= MAX_KINDS:
            answer = answer._replace(group=NOT_KNOWN, handler=NOT_KNOWN, reason="(others)")
        count, samples = self._found.get(answer, (0, ()))
        if len(samples) < MAX_SAMPLES:
            samples = (*samples, letter.id)
        self._found[answer] = count + 1, samples
