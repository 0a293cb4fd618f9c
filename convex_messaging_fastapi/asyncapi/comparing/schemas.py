"""Compares two schemas field by field: what became narrower, what wider, and what only reads differently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from convex_messaging_fastapi.asyncapi.comparing.change import ChangeKind
from convex_messaging_fastapi.asyncapi.reading import Document
from convex_messaging_fastapi.asyncapi.shapes import (
    Schema,
    Shape,
    alternatives,
    around,
    in_words,
    shape_of,
    told,
)


class Difference(NamedTuple):
    """`narrows`: something is refused that was allowed. `widens`: something is allowed that was not, or a
    field that was there may be missing."""

    field: str
    kind: ChangeKind
    sentence: str
    narrows: bool = False
    widens: bool = False


class Comparing:
    """One comparison of messages of two documents."""

    def __init__(self, before: Document, after: Document) -> None:
        self._before, self._after = before, after
        self._open: list[tuple[str, str]] = []

    def between(self, old: Any, new: Any, field: str = "") -> Iterator[Difference]:
        """What has changed of the field, and of those inside it."""
        was, now = shape_of(old, self._before), shape_of(new, self._after)
        olds, news = alternatives(was, self._before), alternatives(now, self._after)
        if len(olds) == len(news) == 1:
            yield from self._one(olds[0], news[0], field)
        else:
            yield from self._several(olds, news, field)
            yield from _reads_differently(around(was), around(now), field)

    def _several(self, olds: list[Shape], news: list[Shape], field: str) -> Iterator[Difference]:
        pairs = _pairs(olds, news)
        lost = [old for old in olds if not _is_among(old, pairs, 0)]
        come = [new for new in news if not _is_among(new, pairs, 1)]
        narrows = any(not any(old.is_within(new) for new in news) for old in lost)
        widens = any(not any(new.is_within(old) for old in olds) for new in come)
        if narrows or widens:
            yield _retyped(olds, news, field, narrows, widens)
        for old, new in pairs:
            yield from self._one(old, new, field)

    def _one(self, old: Shape, new: Shape, field: str) -> Iterator[Difference]:
        names = (old.name, new.name)
        if all(names) and names in self._open:
            return  # a type that holds itself is compared where it begins
        self._open.append(names)
        if old.type != new.type:
            yield _retyped([old], [new], field, not old.is_within(new), not new.is_within(old))
        else:
            yield from self._of_one_type(old, new, field)
        self._open.pop()

    def _of_one_type(self, old: Shape, new: Shape, field: str) -> Iterator[Difference]:
        yield from _values(old, new, field)
        yield from _formats(old, new, field)
        yield from _bounds(old.schema, new.schema, field)
        if old.type == "array":
            yield from self._items(old.schema, new.schema, field)
        else:
            yield from self._fields(old.schema, new.schema, field)
            yield from self._others(old.schema, new.schema, field)
        yield from _reads_differently(old.schema, new.schema, field)

    def _fields(self, old: Schema, new: Schema, field: str) -> Iterator[Difference]:
        olds, news = old.get("properties", {}), new.get("properties", {})
        was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
        for name in olds:
            if name not in news:
                narrows = new.get("additionalProperties") is False
                yield Difference(_inside(field, name), "field_removed", "was removed", narrows, widens=True)
        for name, said in news.items():
            inner, widens = _inside(field, name), old.get("additionalProperties") is False
            if name in olds:
                if name in is_required - was_required:
                    sentence = "is required now, and was optional"
                    yield Difference(inner, "made_required", sentence, narrows=True)
                elif name in was_required - is_required:
                    yield Difference(inner, "made_optional", "is optional now, and was required", widens=True)
                yield from self.between(olds[name], said, inner)
            elif name in is_required:
                yield Difference(inner, "field_added_required", "was added, and is required", True, widens)
            else:
                yield Difference(inner, "field_added", "was added", widens=widens)

    def _others(self, old: Schema, new: Schema, field: str) -> Iterator[Difference]:
        """Fields without a name of their own, as of a dict."""
        was, now = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if was is now:  # nothing is said of them
            return
        if was is not False and now is not False:
            yield from self.between(was, now, f"{field}[*]")
        elif now is False:
            yield Difference(field, "type_narrowed", "takes no other fields now", narrows=True)
        else:
            yield Difference(field, "type_widened", "takes other fields now", widens=True)

    def _items(self, old: Schema, new: Schema, field: str) -> Iterator[Difference]:
        was, now = old.get("items", True), new.get("items", True)
        if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
            for place, (before, after) in enumerate(zip(was, now, strict=True)):
                yield from self.between(before, after, f"{field}[{place}]")
        elif isinstance(was, list) or isinstance(now, list):
            if was != now:
                yield Difference(field, "type_changed", "has other items", narrows=True, widens=True)
        else:
            yield from self.between(was, now, f"{field}[]")


def _pairs(olds: list[Shape], news: list[Shape]) -> list[tuple[Shape, Shape]]:
    """Alternatives that are the same one, before and after."""
    by_kind = {new.kind: new for new in news}
    pairs = [(old, by_kind[old.kind]) for old in olds if old.kind in by_kind]
    rest = [
        [each for each in shapes if not _is_among(each, pairs, side) and each.type in ("object", "array")]
        for side, shapes in enumerate((olds, news))
    ]
    if len(rest[0]) == len(rest[1]) == 1 and rest[0][0].type == rest[1][0].type:
        pairs.append((rest[0][0], rest[1][0]))  # a model that was given another name
    return pairs


def _is_among(shape: Shape, pairs: list[tuple[Shape, Shape]], side: int) -> bool:
    return any(pair[side] is shape for pair in pairs)


def _retyped(olds: list[Shape], news: list[Shape], field: str, narrows: bool, widens: bool) -> Difference:
    kind: ChangeKind = "type_changed"
    if narrows != widens:
        kind = "type_narrowed" if narrows else "type_widened"
    was, now = (in_words(each.kind for each in shapes) for shapes in (olds, news))
    return Difference(field, kind, f"was {was}, and is {now}", narrows, widens)


def _values(old: Shape, new: Shape, field: str) -> Iterator[Difference]:
    was, now = old.values, new.values
    if was is None and now is None:
        return
    if was is None:
        sentence = f"may only be {in_words(map(told, now or ()))}"
        yield Difference(field, "type_narrowed", sentence, narrows=True)
    elif now is None:
        yield Difference(field, "type_widened", f"may be any {new.type}", widens=True)
    else:
        for value in was:
            if value not in now:
                yield Difference(field, "value_removed", f"may no longer be {told(value)}", narrows=True)
        for value in now:
            if value not in was:
                yield Difference(field, "value_added", f"may be {told(value)} as well", widens=True)


def _formats(old: Shape, new: Shape, field: str) -> Iterator[Difference]:
    was, now = old.schema.get("format"), new.schema.get("format")
    if was != now:
        yield _retyped([old], [new], field, now is not None, was is not None)


_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def _bounds(old: Schema, new: Schema, field: str) -> Iterator[Difference]:
    for keyword in (*_LEAST, *_MOST):
        was, now = old.get(keyword), new.get(keyword)
        if was == now:
            continue
        is_less = was is not None and now is not None and (now < was)
        narrows = was is None or (now is not None and is_less is (keyword in _MOST))
        kind: ChangeKind = "bounds_tightened" if narrows else "bounds_loosened"
        yield Difference(field, kind, _bound(keyword, was, now), narrows, not narrows)


def _bound(keyword: str, was: Any, now: Any) -> str:
    if was is None:
        return f"has {keyword} {told(now)} now"
    if now is None:
        return f"no longer has {keyword} {told(was)}"
    return f"has {keyword} {told(now)}, and had {told(was)}"


_COMPARED = {
    *(*_LEAST, *_MOST, "type", "enum", "const", "format", "anyOf", "oneOf"),
    *("properties", "required", "additionalProperties", "items"),
}
_WORDS = frozenset(
    {"title", "description", "examples", "deprecated", "readOnly", "writeOnly", "externalDocs"}
)


def _reads_differently(old: Schema, new: Schema, field: str) -> Iterator[Difference]:
    """Everything else: what is only said of it, and rules that nobody here can judge."""
    for keyword in dict.fromkeys((*old, *new)):
        was, now = old.get(keyword), new.get(keyword)
        if keyword in _COMPARED or was == now:
            continue
        if keyword == "default":
            # One that comes or goes does so because the field is optional now, or required.
            if keyword in old and keyword in new:
                sentence = f"has the default {told(now)}, and had {told(was)}"
                yield Difference(field, "told_differently", sentence)
        elif keyword in _WORDS or keyword.startswith("x-"):
            yield Difference(field, "told_differently", f"reads differently in its {keyword}")
        else:
            narrows, widens = keyword in new, keyword in old
            kind: ChangeKind = "type_changed"
            if narrows != widens:
                kind = "bounds_tightened" if narrows else "bounds_loosened"
            yield Difference(field, kind, _bound(keyword, was, now), narrows, widens)


def _inside(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
