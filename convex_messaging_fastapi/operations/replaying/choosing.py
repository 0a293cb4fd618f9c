"""Which letters an action is about, and why some of them are not replayed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from convex_messaging_fastapi.operations.states import StateOfLetter
from convex_messaging_fastapi.operations.values import NOT_KNOWN, Letter, LetterPlace
from convex_messaging_fastapi.records import TopicPartition

MAX_REPLAYS = 3

Kind = Literal["replay", "discard", "reopen"]

NotReplayed = Literal[
    "too_many_replays", "unreadable", "names_cut", "no_handler", "payload_gone", "too_large", "gone"
]
"""Why a letter was left as it is. `too_many_replays`: its message was replayed `max_replays` times and failed
each time. `unreadable`: nobody knows what it holds. `names_cut`: its group or handler was too long for the
letter. `no_handler`: it does not say whose it is, so it goes to its topic, or to a handler that is named.
`payload_gone`: it does not hold the message, which its topic has not any more. `too_large`: its target does
not take it. `gone`: its topic kept it no longer."""

Ends = Mapping[TopicPartition, int]
"""Where each partition of dead letters ended, below which letters are chosen."""


class Chosen(NamedTuple):
    """A letter that an action is about: cheap, for there may be a hundred thousand."""

    place: LetterPlace
    group: str
    before: StateOfLetter | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What a filter matched, in the order of the logs; `ends` are where those ended then.

    A letter that is written later is no part of the action.
    """

    letters: Sequence[Chosen]
    ends: Ends

    def by_group(self) -> dict[str, list[Chosen]]:
        """Each letter's own group, one after another."""
        found: dict[str, list[Chosen]] = {}
        for chosen in self.letters:
            found.setdefault(chosen.group, []).append(chosen)
        return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator asked for. `handler` names one for letters that do not, or another than they do.

    `into` is the group for letters that tell none; of all others it is their own.
    """

    kind: Kind = "replay"
    to_topic: bool = False
    handler: str | None = None
    into: str | None = None
    max_replays: int = MAX_REPLAYS


def against(letter: Letter, terms: Terms) -> NotReplayed | None:
    """Why a letter is not replayed, as far as it says itself; `None` for one that is."""
    if terms.kind != "replay":
        return None
    if letter.kind == "unreadable":
        return "unreadable"
    if letter.replay_count >= terms.max_replays:
        return "too_many_replays"
    if letter.names_cut:
        return "names_cut"
    if letter.origin.last_offset is not None:
        return "payload_gone"  # a batch that could not be read: there is nothing to copy
    if not terms.to_topic and NOT_KNOWN in (group_for(letter.group, terms), handler_of(letter, terms)):
        return "no_handler"
    return None


def group_for(group: str, terms: Terms) -> str:
    """Who handles the copies of a group's letters."""
    return terms.into or NOT_KNOWN if group == NOT_KNOWN else group


def handler_of(letter: Letter, terms: Terms) -> str:
    return terms.handler or letter.handler


def slices(letters: Sequence[Chosen], size: int) -> Iterable[Sequence[Chosen]]:
    for start in range(0, len(letters), size):
        yield letters[start : start + size]
