"""The place where a message failed: told by the letter, or found in what it tells."""

from __future__ import annotations

import re

from convex_messaging_fastapi.operations.letters.fields import Fields, text

_LINE = re.compile(r":\d+(?= in )")
_SEPARATOR = re.compile(r"[\\/]")
_PLACE = re.compile(r"^  (.+):(\d+) in (.+)$")
_LIBRARY = re.compile(r"[\\/](?:site-packages|dist-packages|lib[\\/]python3[^\\/]*)[\\/]")

# Blanks alone, and few: `\s` would begin anew at each of 60,000 empty lines, and run to the last of them.
_JAVA_PLACE = re.compile(r"^[ \t]{1,8}at ([\w$.<>/@-]+)\(([^():\n]+)(?::(\d+))?\)", re.MULTILINE)
_JAVA_CAUSE = "\nCaused by: "
_JAVA_LIBRARIES = (
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "java.base/",
    "org.springframework.",
    "org.apache.kafka.",
    "io.smallrye.",
    "io.vertx.",
)

_FIELD = re.compile(r"(?:^|: |; )((?:[A-Za-z_]\w*|\?|\d+)(?:\.(?:\w+|\?))*): ")
_INDEX = re.compile(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.|$)")
_LONGEST = 64 * 1024


def frame_of(fields: Fields) -> str | None:
    """The place as it is shown: `app/payments.py:41 in charge`, or the fields that could not be decoded."""
    if told := text(fields.get("Frame")):
        return told
    kind = text(fields.get("ExceptionType"))
    if kind is not None and kind.endswith(".DecodeError"):
        return fields_named(text(fields.get("ErrorMessage")) or "")
    stack = text(fields.get("StackTrace"))
    return None if not stack else _of_stack(stack[:_LONGEST]) or _of_java(stack[:_LONGEST])


def without_line(frame: str | None) -> str | None:
    """The place in its file and function: a deploy moves lines."""
    return None if frame is None else _LINE.sub("", frame, count=1)


def fields_named(error: str) -> str | None:
    """The fields that a decoding error complains of, not what it says of them: `Amount, Items.*.Price`."""
    found = {_INDEX.sub("*", name) for name in _FIELD.findall(error[:_LONGEST])}
    return ", ".join(sorted(found)) or None


def _of_stack(stack: str) -> str | None:
    """The innermost place in the user's own code, of the first exception that has places."""
    own, innermost = None, None
    for line in stack.split("\n"):
        if (place := _PLACE.match(line)) is None:
            if innermost is not None:
                break
            continue
        innermost = place
        own = own if _LIBRARY.search(place[1]) else place
    found = own or innermost
    if found is None:
        return None
    file = "/".join(_SEPARATOR.split(found[1])[-2:])
    return f"{file}:{found[2]} in {found[3]}"


def _of_java(stack: str) -> str | None:
    """The innermost place outside of the libraries, in the last cause."""
    places = list(_JAVA_PLACE.finditer(stack[max(0, stack.rfind(_JAVA_CAUSE)) :]))
    if not places:
        return None
    found = next((place for place in places if not place[1].startswith(_JAVA_LIBRARIES)), places[0])
    return f"{found[2]}:{found[3] or 0} in {found[1]}"
