"""What operations answer about dead letters: frozen values, which the command line and pages only draw.

Times are in UTC. Texts come from messages and from other people's software: they may be of any length and
hold any character, control characters included, unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from convex_messaging_fastapi.records import Headers

NOT_KNOWN = "-"
"""The group, handler or topic of a letter that does not tell it."""

LetterKind = Literal["convex", "dotnet", "spring", "smallrye", "connect", "unreadable"]
"""Who wrote it. `convex`: this package. `dotnet`: Convex.Shared.Messaging, of which five fields are known.
`unreadable`: none of these; it can be shown and discarded."""

LetterState = Literal["open", "waiting", "replayed", "failed_again", "discarded", "unknown"]
"""`open`: nothing was done about it, or it was opened again. `waiting`: it was replayed, and its group has
not yet committed past the copy, or has no member that reads it. `replayed`: the group has, and no new failure
is known, which is not to say that it was handled well. `failed_again`: there is a newer letter about it.
`discarded`: somebody decided so. `unknown`: states cannot be read, or a newer release wrote this one."""

KeptState = Literal["open", "replayed", "discarded"]
"""What operators did, of which the state of a letter is derived."""


class LetterPlace(NamedTuple):
    """Where a letter stands: the offset in its dead-letter topic. `timestamp_ms` is that of its record."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Origin(NamedTuple):
    """Where the message stood that failed, `None` or `-` where the letter does not say.

    `last_offset` is that of a batch that could not be read, and that one letter stands for.
    """

    topic: str
    partition: int | None = None
    offset: int | None = None
    timestamp: datetime | None = None
    last_offset: int | None = None


@dataclass(frozen=True, slots=True)
class StateChange:
    """What one operator did to one letter, and when. `job` is the id of the action it belonged to."""

    state: KeptState
    at: datetime
    by: str
    reason: str | None = None
    job: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter: what failed, where and why, and what became of it since.

    `id` is `{partition}/{offset}` in the dead-letter topic of this bus, and
    `{topic}/{partition}/{offset}` in another. `message_id` is the failed message's own. `frame` is the
    place in the user's code, or the fields that were wrong. `size` is the bytes of the letter's value.

    What `dead_letter(id)`, `export` and replay give is whole (`is_whole`): `value` and `headers` are the
    original's, byte for byte. A page's letters have neither, no `stack`, and at most 1,024 bytes of `key`.
    `omitted` names what the letter itself does not hold, since it would have been too large: it may still
    stand at `origin`. `names_cut` says that group or handler were too long for it.

    `duplicates` are further letters about the same failure, for a dead letter is written at least once:
    this one stands for them. `replay_of` and `failed_as` are ids: of the letter whose replay failed as
    this one, and of the letter that this one's replay failed as. `history` has the last 10 changes,
    newest last. `expires_at` is the earliest time at which the topic's retention may remove it, `None`
    where that is for ever, or not known.
    """

    id: str
    kind: LetterKind
    place: LetterPlace
    group_id: str
    origin: Origin
    group: str
    handler: str
    error: str
    exception_type: str | None = None
    frame: str | None = None
    attempts: int | None = None
    replay_count: int = 0
    failed_at: datetime
    message_id: str | None = None
    size: int
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()
    stack: str | None = None
    is_whole: bool = False
    omitted: tuple[Literal["value", "key", "headers"], ...] = ()
    names_cut: bool = False
    state: LetterState = "unknown"
    history: tuple[StateChange, ...] = ()
    duplicates: tuple[LetterPlace, ...] = ()
    replay_of: str | None = None
    failed_as: str | None = None
    expires_at: datetime | None = None

    @property
    def written(self) -> int:
        """How often this letter was written."""
        return 1 + len(self.duplicates)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterGroup:
    """Letters that failed alike: of one topic, group, handler, type of exception, and place in the code.

    `id` is 10 hexadecimal digits, the same for the same failure everywhere and after a deploy, which moves
    lines: `frame` shows the line of the newest. `counts` says how many letters are in each state, those in
    none left out; a letter that was written several times counts once. `failed_again` counts the letters
    whose message had been replayed before. `first` and `last` are when the oldest and the newest failed,
    `error` and `sample` are the text and the id of the newest. `expires_at` is when the oldest open one may
    be removed by its topic's retention.
    """

    id: str
    topic: str
    group: str
    handler: str
    exception_type: str | None
    frame: str | None
    counts: Mapping[LetterState, int]
    failed_again: int
    first: datetime
    last: datetime
    error: str
    sample: str
    expires_at: datetime | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterPage:
    """Some of the letters that a filter matches, newest first, and the groups of all of them.

    `matched` is how many there are in all, of `scanned` records. `next` is what `after` takes to go on
    behind the last of `letters`, `None` where none is left. `truncated` is a sentence where older letters
    were not looked at, for there are too many or it took too long; empty where all were.
    `states_known` is false where states could not be read: every letter's is `unknown` then, and
    `Filter.state` was not applied. `states_problem` says why.
    """

    groups: tuple[LetterGroup, ...]
    letters: tuple[Letter, ...]
    matched: int
    scanned: int
    next: str | None = None
    truncated: str = ""
    states_known: bool = True
    states_problem: str = ""


@dataclass(frozen=True, slots=True)
class ValidatedAlike:
    """Letters about which today's handlers' types say the same.

    `verdict` is a word of `Verdict`, `reason` the sentence beside it, `samples` the ids of up to 20.
    """

    verdict: Verdict
    group: str
    handler: str
    reason: str
    count: int
    samples: tuple[str, ...]


Verdict = Literal["accepted", "refused", "no_handler", "not_known_here", "not_in_letter"]
"""`accepted`: its handler would be given it, which is not to say that the handler succeeds. `refused`: it
cannot be decoded. `no_handler`: this app's group has no handler of this name. `not_known_here`: its group is
not one of this app's. `not_in_letter`: the letter does not hold the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What `validate` found, most frequent first; nothing was called and nothing written."""

    results: tuple[ValidatedAlike, ...]
    checked: int
    truncated: str = ""

    @property
    def accepted(self) -> int:
        return sum(each.count for each in self.results if each.verdict == "accepted")
