"""What the replayer asks of whoever reads letters and states."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from convex_messaging_fastapi.operations.filtering import Filter
from convex_messaging_fastapi.operations.replaying.choosing import Choice, Chosen, Ends
from convex_messaging_fastapi.operations.replaying.jobs import Job
from convex_messaging_fastapi.operations.values import Letter, LetterPlace


@dataclass(frozen=True, slots=True)
class Known:
    """What the state topic says now. `gone` are places whose letters their topics keep no longer."""

    jobs: Mapping[str, Job] = field(default_factory=dict)
    gone: Sequence[LetterPlace] = ()


class LetterSource(Protocol):
    """Every call reads anew, and raises `LettersUnavailable`."""

    async def known(self) -> Known: ...

    async def choose(self, wanted: Filter, ends: Ends | None = None) -> Choice:
        """The letters that pass `wanted`, duplicates left out; `ends` are those of an earlier choice."""
        ...

    def whole(self, chosen: Sequence[Chosen]) -> AsyncGenerator[Sequence[Letter], None]:
        """These letters with all that they hold, in the same order; those that are gone are left out."""
        ...
