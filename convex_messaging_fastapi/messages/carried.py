"""Finds values in a `ConvexMessage` that its JSON would not carry, although pydantic writes them.

An instance of a subclass in a field is written as the declared class, without what the subclass adds.
A time whose offset from UTC has seconds is written without these, and so as another time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, time, timedelta
from operator import attrgetter
from typing import Any

from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages.message_types import ATTRIBUTE
from convex_messaging_fastapi.messages.schema_walk import Schema, Walk, fields_of, writes_as_it_likes

Check = Callable[[Any], bool]
"""Whether the value is of a checked type; the writer refuses others. Raises `NotCarried`."""

_MINUTE = timedelta(minutes=1)

TIMES = bytes(
    ord("0" if byte in b"0123456789.+-" else ":" if byte == ord(":") else " ") for byte in range(256)
)
OFFSET = b"000:00"
"""Of `12:30:00+02:00` in that alphabet; no time without an offset, or with `Z`, has it."""


class NotCarried(ValueError):
    """The text says why and what to do. `place` leads to the value, outermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.place: list[str] = []


class Carried:
    """What to check of one kind of message, and when that is worth its time.

    `zones_of` gives the time zones of its own fields, where each is a time: `in_utc` is what nearly all
    messages have. `has_more_times`: so may something else in it; where that has an offset, `OFFSET` is
    in what was written, in the alphabet of `TIMES`. `watched` are the classes that an instance of a
    subclass could stand for.
    """

    __slots__ = ("_check", "_own", "has_more_times", "in_utc", "watched", "zones_of")

    def __init__(self, schema: Schema) -> None:
        compiling = _Compiling()
        self._check = compiling.check_of(schema, False)
        self._own = compiling.times_of(schema)
        zones = [f"{name}.tzinfo" for name in self._own]
        self.zones_of: Callable[[Any], Any] | None = attrgetter(*zones) if zones else None
        self.in_utc: Any = UTC if len(zones) == 1 else (UTC,) * len(zones)
        self.has_more_times: bool = bool(compiling.times.difference(self._own.values()))
        self.watched: tuple[type, ...] = tuple(compiling.watched)

    def has_offset(self, message: Any) -> bool:
        """Whether a time among its own fields has an offset other than that of UTC."""
        held = (getattr(message, name, None) for name in self._own)
        return any(isinstance(value, datetime | time) and value.utcoffset() for value in held)

    def has_subclasses(self) -> bool:
        return any(map(type.__subclasses__, self.watched))

    def refuse_loss(self, message: Any) -> None:
        """Raises `EncodeError` with the place and the remedy."""
        try:
            _run(self._check, message)
        except NotCarried as problem:
            place = ".".join((type(message).__name__, *problem.place))
            raise EncodeError(f"{place} cannot be written without a loss: {problem}") from None


class _Compiling:
    """Makes checks for schemas, recursive ones included."""

    def __init__(self) -> None:
        self.watched: dict[type, None] = {}
        self.times: set[int] = set()
        self._walk = Walk()
        self._by_node: dict[tuple[int, bool], Check | None] = {}

    def check_of(self, node: Schema, within: bool) -> Check | None:
        """`within`: a `ConvexMessage` is around it, so that what that does not carry is refused."""
        asked = (id(node), within)
        if asked not in self._by_node:
            self._by_node[asked] = lambda value: _run(self._by_node[asked], value)  # for a recursive schema
            self._by_node[asked] = self._compiled(node, within)
        return self._by_node[asked]

    def times_of(self, message: Schema) -> dict[str, int]:
        """The message's own fields whose values are always a time."""
        node: Any = message
        while node is not None and node.get("type") != "model-fields":
            node = self._inside(node, str(node.get("type")))
        fields = [] if node is None else fields_of(node)
        times = {name: self._time_in(field["schema"]) for name, field in fields}
        return {name: time for name, time in times.items() if time in self.times}

    def _time_in(self, node: Any) -> int:
        while node.get("type") in ("default", "function-after"):
            node = node["schema"]
        return id(node)

    def _compiled(self, node: Schema, within: bool) -> Check | None:
        kind = str(node.get("type"))
        if writes_as_it_likes(node) or node.get("serialization", {}).get("type") == "any":
            return None
        if kind in ("datetime", "time"):
            if within:
                self.times.add(id(node))
            return _check_offset if within else None
        if kind in ("model", "dataclass"):
            return self._of_class(node, within)
        if kind in ("union", "tagged-union"):
            return self._of_union(node, within)
        if kind in _BY_NAME:
            return _each_of(self._of_fields(node, within), _BY_NAME[kind])
        if kind in ("dict", "ordered-dict", "frozendict"):
            return self._of_dict(node, within)
        if kind == "tuple":
            return self._of_tuple(node, within)
        if "items_schema" in node and kind != "generator":  # which can be iterated only once
            return _each(self.check_of(node["items_schema"], within))
        inner = self._inside(node, kind)
        return None if inner is None else self.check_of(inner, within)

    def _inside(self, node: Schema, kind: str) -> Any:
        """The schema that writes the same value."""
        if kind in ("definitions", "definition-ref"):
            return next(iter(self._walk.children(node)), None)
        if kind == "chain":
            return node["steps"][-1]
        return next((node[name] for name in ("schema", "lax_schema", "json_schema") if name in node), None)

    def _of_class(self, node: Schema, within: bool) -> Check | None:
        cls = node["cls"]
        fields = self.check_of(node["schema"], within or hasattr(cls, ATTRIBUTE))
        if fields is not None and node.get("root_model"):
            fields = _of_root(fields)
        if not within:
            return fields
        self.watched[cls] = None
        return _of_exactly({cls: fields}, ())

    def _of_union(self, node: Schema, within: bool) -> Check | None:
        choices = node["choices"].values() if node["type"] == "tagged-union" else node["choices"]
        members = [choice[0] if isinstance(choice, tuple) else choice for choice in choices]
        classes: dict[type, Check | None] = {}
        others: list[Check | None] = []
        for member in members:
            cls = self._class_of(member)
            check = self.check_of(member, within)
            if cls is None or not within:
                others.append(check)
            else:
                classes[cls] = check
        if not classes and not any(others):
            return None
        return _of_exactly(classes, others)

    def _class_of(self, node: Any) -> type | None:
        """The class of a member, without any wrappers."""
        seen = set[int]()
        while isinstance(node, Mapping) and id(node) not in seen:
            seen.add(id(node))
            if node.get("type") in ("model", "dataclass"):
                cls: type = node["cls"]
                return cls
            node = self._inside(node, str(node.get("type")))
        return None

    def _of_fields(self, node: Schema, within: bool) -> list[tuple[str, Check]]:
        fields = node["fields"]
        named = (
            fields.items() if isinstance(fields, Mapping) else ((field["name"], field) for field in fields)
        )
        checks = ((name, self.check_of(field["schema"], within)) for name, field in named)
        return [(name, check) for name, check in checks if check is not None]

    def _of_dict(self, node: Schema, within: bool) -> Check | None:
        keys = _each(self.check_of(node["keys_schema"], within) if "keys_schema" in node else None)
        values = self.check_of(node["values_schema"], within) if "values_schema" in node else None
        if keys is None and values is None:
            return None

        def check(value: Any) -> bool:
            if not isinstance(value, dict):
                return False
            _run(keys, list(value))
            for key, member in value.items():
                _at(str(key), values, member)
            return True

        return check

    def _of_tuple(self, node: Schema, within: bool) -> Check | None:
        checks = [self.check_of(item, within) for item in node["items_schema"]]
        variadic = node.get("variadic_item_index")
        if variadic is not None:
            return _each(checks[variadic])
        if not any(checks):
            return None

        def check(value: Any) -> bool:
            if not isinstance(value, tuple):
                return False
            for index, (one, member) in enumerate(zip(checks, value, strict=False)):
                _at(str(index), one, member)
            return True

        return check


def _of_model(value: Any) -> Mapping[str, Any]:
    return getattr(value, "__dict__", {})


def _of_row(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _of_slots(value: Any) -> Mapping[str, Any]:
    return {field: getattr(value, field, None) for field in getattr(type(value), "__dataclass_fields__", ())}


def _of_pair(value: Any) -> Mapping[str, Any]:
    return dict(zip(getattr(value, "_fields", ()), value, strict=False))


_BY_NAME: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {
    "model-fields": _of_model,
    "dataclass-args": _of_slots,
    "typed-dict": _of_row,
    "named-tuple": _of_pair,
}
"""Kinds of schema with named fields, and how to get these from a value."""


def _each_of(
    fields: Iterable[tuple[str, Check]], fields_of: Callable[[Any], Mapping[str, Any]]
) -> Check | None:
    checks = list(fields)
    if not checks:
        return None

    def check(value: Any) -> bool:
        held = fields_of(value)
        for name, one in checks:
            _at(name, one, held.get(name))
        return bool(held)

    return check


def _each(one: Check | None) -> Check | None:
    if one is None:
        return None

    def check(value: Any) -> bool:
        if not isinstance(value, list | tuple | set | frozenset | deque):
            return False
        for index, member in enumerate(value):
            _at(str(index), one, member)
        return True

    return check


def _of_root(one: Check) -> Check:
    return lambda value: one(value.root)


def _of_exactly(classes: Mapping[type, Check | None], others: Iterable[Check | None]) -> Check:
    """Takes instances of just these classes, of no subclass; and what one of `others` takes."""
    other_checks = list(others)

    def check(value: Any) -> bool:
        for cls, one in classes.items():
            if _written_class(type(value)) is _written_class(cls):
                _run(one, value)
                return True
        for cls in classes:
            if isinstance(value, cls):
                raise NotCarried(_loses(type(value), cls))
        return _any_of(other_checks, value)

    return check


def _any_of(checks: list[Check | None], value: Any) -> bool:
    problems: list[NotCarried] = []
    for one in checks:
        try:
            if _run(one, value):
                return True
        except NotCarried as problem:
            problems.append(problem)
    if problems:
        raise problems[0]
    return False


def _written_class(cls: type) -> Any:
    """The class that was written: arguments of a generic model make a subclass with the same fields."""
    metadata: Any = getattr(cls, "__pydantic_generic_metadata__", None)
    return (metadata and metadata["origin"]) or cls


def _loses(actual: type, declared: type) -> str:
    return (
        f"{actual.__name__} is a subclass of {declared.__name__}, which the field is declared to be, and "
        f"what it adds would not be written: declare it as {declared.__name__} | {actual.__name__} with a "
        f"discriminator, or give it a {declared.__name__}"
    )


def _check_offset(value: Any) -> bool:
    offset = value.utcoffset() if isinstance(value, datetime | time) else None
    if offset is not None and offset % _MINUTE:
        raise NotCarried(
            "the offset from UTC has seconds, and is written in hours and minutes: make it one in UTC, "
            "as value.astimezone(UTC) does"
        )
    return offset is not None


def _run(check: Check | None, value: Any) -> bool:
    return check is not None and value is not None and check(value)


def _at(place: str, check: Check | None, value: Any) -> None:
    try:
        _run(check, value)
    except NotCarried as problem:
        problem.place.insert(0, place)
        raise
