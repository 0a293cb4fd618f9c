"""The shape of an action: its path, what it says before, and what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.forms import Fields

CONFIRM_SECONDS = 8.0
DO_SECONDS = 10.0
MAX_REASON = 256


class Option(NamedTuple):
    """What may be chosen before. `choices` are values and their names; without any it is a text."""

    name: str
    label: str
    value: str
    choices: Sequence[tuple[str, str]] = ()
    kind: Literal["text", "number"] = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What would be done. `shown` are the fields that the page signs: nothing else is done.

    `button` is empty where nothing can be done, and `says` has why. `facts` are names and values; `left` are
    those that would be left as they are: how many, and why.
    """

    title: str
    says: Sequence[str]
    shown: Mapping[str, tuple[str, ...]]
    button: str = ""
    facts: Sequence[tuple[str, str]] = ()
    left: Sequence[tuple[int, str]] = ()
    options: Sequence[Option] = ()
    reason: Literal["", "optional", "required"] = ""
    back: str = ""
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Fields that the options are chosen beside."""


@dataclass(frozen=True, slots=True)
class Action:
    """`confirm` looks and writes nothing. `act` is given what a confirmation has shown and signed, who acts
    and why; it answers the address, in the console, of what came of it. Both raise `Refused`."""

    name: str
    path: str
    confirm: Callable[[Desk, Fields, str], Awaitable[Confirmation]]
    act: Callable[[Desk, Fields, str, str], Coroutine[Any, Any, str]]
