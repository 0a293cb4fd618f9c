"""What is kept of an exception: type, text, and where in the user's code it was raised."""

from __future__ import annotations

import re
import sysconfig
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from traceback import walk_tb
from types import FrameType
from typing import NamedTuple

from pydantic import ValidationError

from convex_messaging_fastapi.errors import DecodeError, MessagingError
from convex_messaging_fastapi.messages.validation_errors import MAX_NAME, one_line, validation_text

MAX_TEXT = 2000
MAX_STACK = 4000
MAX_FRAMES = 20
MAX_LINKS = 12
MAX_LEAVES = 5

_MACHINERY = frozenset(
    {
        "convex_messaging_fastapi",
        "asyncio",
        "concurrent",
        "contextlib",
        "pydantic",
        "pydantic_core",
        "threading",
        "uvloop",
    }
)
"""Packages whose frames surround the user's code in every stack, and tell nothing about it."""

_LIBRARIES = ("site-packages", "dist-packages")
_STANDARD_LIBRARY = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message could not be handled. Its texts are bounded and safe to print.

    Each line of `stack` is a type with its text, or below it a place in the code, the innermost last.
    `handler` is `None` for a batch that could not be read, which ends at `last_offset`. `frame` is the
    innermost place in the user's own code: the last two parts of the file, the line, the function.
    """

    exception_type: str
    text: str
    stack: str
    attempts: int
    group: str
    handler: str | None
    last_offset: int | None = None
    frame: str | None = None


def failure_of(
    exception: BaseException, attempts: int, group: str, handler: str, *, texts: bool = True
) -> Failure:
    """What is worth keeping of an exception: of a group each exception in it, with its own place.

    Without `texts` only types and places are kept, and no causes. This package's own sentences about
    bytes that cannot be decoded are always kept, since they repeat none of the bytes.
    """
    texts = texts or (isinstance(exception, DecodeError) and exception.tells_kind_and_place_only)
    return Failure(
        exception_type=type_name(exception),
        text=_text_with_leaves(exception) if texts else untold(_kinds(exception)),
        stack=_stack_of(exception, texts=texts),
        attempts=attempts,
        group=one_line(group, MAX_NAME),
        handler=one_line(handler, MAX_NAME),
        frame=frame_of(exception),
    )


def untold(kind: str) -> str:
    """The text of a failure whose own text is not to be shown."""
    return f"{kind}, whose text is not told: error_texts is false"


def type_name(exception: BaseException) -> str:
    kind = type(exception)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return one_line(name, MAX_NAME)


def leaves(failure: BaseException) -> list[BaseException]:
    """The exceptions in a group and in groups inside it, in order; for any other failure itself alone."""
    found: list[BaseException] = []
    unseen = [failure]
    while unseen:
        link = unseen.pop()
        if isinstance(link, BaseExceptionGroup):
            unseen.extend(reversed(link.exceptions))
        else:
            found.append(link)
    return found


def is_users(frame: FrameType) -> bool:
    """Whether a frame runs code of the user, or of a library that the user calls."""
    return package_of(frame) not in _MACHINERY and not frame.f_code.co_filename.startswith("<frozen")


def package_of(frame: FrameType) -> str:
    """The name of the outermost package whose code a frame runs; empty if unknown."""
    module = frame.f_globals.get("__name__")
    return module.partition(".")[0] if isinstance(module, str) else ""  # anybody may set it to anything


def place_of(frame: FrameType, line: int | None) -> str:
    """File, line and function; no line of code, which may hold a value."""
    return one_line(f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}", MAX_TEXT)


def frame_of(exception: BaseException) -> str | None:
    """Where it was raised in the user's own code: `app/payments.py:41 in charge`.

    Where none of that was running, the innermost place in a library that it called; `None` where the
    machinery alone was. Of a group it is the place of the first exception in it.
    """
    for each in (leaves(exception)[0], exception):
        own, innermost = None, None
        for frame, line in walk_tb(each.__traceback__):
            if is_users(frame):
                innermost = frame, line
                own = innermost if _is_own(frame.f_code.co_filename) else own
        if innermost is not None:
            frame, line = own or innermost
            file = "/".join(re.split(r"[\\/]", frame.f_code.co_filename)[-2:])
            return one_line(f"{file}:{line} in {frame.f_code.co_name}", MAX_NAME)
    return None


def _is_own(file: str) -> bool:
    """Whether a file is neither of Python itself nor of an installed package."""
    return not file.startswith(_STANDARD_LIBRARY) and not any(part in file for part in _LIBRARIES)


def _text_of(exception: BaseException) -> str:
    """What an exception says; a validation error without the input that it would repeat."""
    try:
        said = validation_text(exception) if isinstance(exception, ValidationError) else str(exception)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a `__str__` may raise anything, and the dead letter must be written
        return f"{type_name(exception)}, whose text cannot be read"
    return one_line(said, MAX_TEXT) or type_name(exception)


def _text_with_leaves(exception: BaseException) -> str:
    """A group's own text does not say what went wrong, so the texts of its leaves follow."""
    if not isinstance(exception, BaseExceptionGroup):
        return _text_of(exception)
    found = leaves(exception)
    told = [f"{type_name(leaf)}: {_text_of(leaf)}" for leaf in found[:MAX_LEAVES]]
    if (more := len(found) - MAX_LEAVES) > 0:
        told.append(f"and {more} more")
    return one_line(f"{_text_of(exception)}: {'; '.join(told)}", MAX_TEXT)


def _kinds(exception: BaseException) -> str:
    if not isinstance(exception, BaseExceptionGroup):
        return type_name(exception)
    kinds = list(dict.fromkeys(map(type_name, leaves(exception))))
    more = ", ..." if len(kinds) > MAX_LEAVES else ""
    return f"{type_name(exception)} of {', '.join(kinds[:MAX_LEAVES])}{more}"


class _Link(NamedTuple):
    """One exception of a stack, and its relation to the one before it."""

    relation: str
    exception: BaseException


def _stack_of(exception: BaseException, *, texts: bool) -> str:
    """The exception with its places, then those in it, then their causes; cut to `MAX_STACK`."""
    told: list[str] = []
    for relation, link in _links(exception, causes=texts):
        told.append(f"{relation}{type_name(link)}{f': {_text_of(link)}' if texts else ''}")
        told += [f"  {place}" for place in _places(link)]
    return "\n".join(told)[:MAX_STACK]


def _links(exception: BaseException, *, causes: bool) -> Iterator[_Link]:
    """At most `MAX_LINKS` of them: causes may form a ring, and a group may hold thousands."""
    unseen = [_Link("", exception)]
    for _ in range(MAX_LINKS):
        if not unseen:
            return
        link = unseen.pop()
        yield link
        if causes:
            unseen += _causes_of(link.exception)
        if isinstance(link.exception, BaseExceptionGroup):
            unseen += [_Link("in it ", each) for each in reversed(link.exception.exceptions[:MAX_LINKS])]


def _causes_of(exception: BaseException) -> list[_Link]:
    if exception.__cause__ is not None:
        return [_Link("caused by ", exception.__cause__)]
    if exception.__context__ is not None and not exception.__suppress_context__:
        return [_Link("raised while handling ", exception.__context__)]
    return []


def _places(exception: BaseException) -> list[str]:
    """Where in the user's code, the innermost last, as Python shows it.

    If there is none, the machinery's place is given, but not for this package's own errors: these say
    themselves what is wrong.
    """
    users: deque[str] = deque(maxlen=MAX_FRAMES)
    last, count = None, 0
    for frame, line in walk_tb(exception.__traceback__):
        last = frame, line
        if is_users(frame):
            users.append(place_of(frame, line))
            count += 1
    if not users and last is not None and not isinstance(exception, MessagingError):
        return [place_of(*last)]
    left_out = [f"({count - MAX_FRAMES} outer ones left out)"] if count > MAX_FRAMES else []
    return [*left_out, *users]
