"""Each kind of change of a message has its sentence, and breaks in one direction, in both or in none."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import Field

from convex_messaging_fastapi import ConvexMessage
from tests.asyncapi.comparing.versions import RECEIVED, SENT, between, order


class Line(ConvexMessage):
    price: Decimal


class LineWithCount(ConvexMessage):
    price: Decimal
    count: int


LineWithCount.__name__ = LineWithCount.__qualname__ = "Line"


class Node(ConvexMessage):
    next: Node | None = None
    value: int


class LongerNode(ConvexMessage):
    next: LongerNode | None = None
    value: str


class Case(NamedTuple):
    """What `breaks` says are directions."""

    before: Any
    after: Any
    kind: str
    sentence: str
    breaks: frozenset[str]


NOWHERE, READ, WRITTEN = frozenset[str](), frozenset({RECEIVED}), frozenset({SENT})
ANYWHERE = READ | WRITTEN
ID = {"id": (int, ...)}


def case(before: Any, after: Any, kind: str, sentence: str, breaks: frozenset[str]) -> Any:
    return pytest.param(Case(before, after, kind, sentence, breaks), id=f"{kind}: {sentence}")


def typed(was: Any, now: Any, kind: str, sentence: str, breaks: frozenset[str], field: str = "F") -> Any:
    """Of one field."""
    return case(order(f=(was, ...)), order(f=(now, ...)), kind, f"field {field} {sentence}", breaks)


TWELVE = [
    case(order(**ID), order(**ID, f=(int, 0)), "field_added", "field F was added", NOWHERE),
    case(
        order(**ID),
        order(**ID, f=(int, ...)),
        "field_added_required",
        "field F was added, and is required",
        READ,
    ),
    case(order(**ID, f=(int, ...)), order(**ID), "field_removed", "field F was removed", WRITTEN),
    case(
        order(f=(int, 0)),
        order(f=(int, ...)),
        "made_required",
        "field F is required now, and was optional",
        READ,
    ),
    case(
        order(f=(int, ...)),
        order(f=(int, 0)),
        "made_optional",
        "field F is optional now, and was required",
        WRITTEN,
    ),
    typed(int, str, "type_changed", "was integer, and is string", ANYWHERE),
    typed(int | None, int, "type_narrowed", "was integer or null, and is integer", READ),
    typed(int, int | None, "type_widened", "was integer, and is integer or null", WRITTEN),
    typed(Literal["a"], Literal["a", "b"], "value_added", 'may be "b" as well', WRITTEN),
    typed(Literal["a", "b"], Literal["b"], "value_removed", 'may no longer be "a"', READ),
    typed(
        Annotated[str, Field(max_length=9)],
        Annotated[str, Field(max_length=5)],
        "bounds_tightened",
        "has maxLength 5, and had 9",
        READ,
    ),
    typed(Annotated[int, Field(ge=5)], int, "bounds_loosened", "no longer has minimum 5", WRITTEN),
]
"""The kinds of change; the same sentence in both directions."""

MORE = [
    typed(int, Decimal, "type_widened", "was integer, and is number", WRITTEN),
    typed(Decimal, int, "type_narrowed", "was number, and is integer", READ),
    typed(Any, int, "type_narrowed", "was anything, and is integer", READ),
    typed(
        int | str, Decimal | str, "type_widened", "was integer or string, and is number or string", WRITTEN
    ),
    typed(
        int | str, int | bool, "type_changed", "was integer or string, and is integer or boolean", ANYWHERE
    ),
    typed(str, Literal["a", "b"], "type_narrowed", 'may only be "a" or "b"', READ),
    typed(Literal["a"], str, "type_widened", "may be any string", WRITTEN),
    typed(bytes, str, "type_widened", "was string (byte), and is string", WRITTEN),
    typed(int, Annotated[int, Field(gt=0)], "bounds_tightened", "has exclusiveMinimum 0 now", READ),
    typed(
        Annotated[str, Field(pattern="^a")],
        Annotated[str, Field(pattern="^b")],
        "type_changed",
        'has pattern "^b", and had "^a"',
        ANYWHERE,
    ),
    typed(
        Annotated[int, Field(multiple_of=2)], int, "bounds_loosened", "no longer has multipleOf 2", WRITTEN
    ),
    typed(list[int], list[str], "type_changed", "was integer, and is string", ANYWHERE, "F[]"),
    typed(dict[str, int], dict[str, Any], "type_widened", "was integer, and is anything", WRITTEN, "F[*]"),
    typed(tuple[int, int], tuple[int, int, int], "type_changed", "has other items", ANYWHERE),
    typed(Line, int, "type_changed", "was Line, and is integer", ANYWHERE),
    typed(Line | None, int | None, "type_changed", "was Line or null, and is integer or null", ANYWHERE),
    case(
        order(f=(int, 1)),
        order(f=(int, 2)),
        "told_differently",
        "field F has the default 2, and had 1",
        NOWHERE,
    ),
    typed(
        Annotated[int, Field(description="a")],
        Annotated[int, Field(description="b")],
        "told_differently",
        "reads differently in its description",
        NOWHERE,
    ),
    case(int, str, "type_changed", "the message was integer, and is string", ANYWHERE),
]


@pytest.mark.parametrize("direction", [RECEIVED, SENT])
@pytest.mark.parametrize("case", TWELVE + MORE)
def test_a_change_is_told_in_words_and_breaks_where_it_does(case: Case, direction: str) -> None:
    found = between(direction, case.before, case.after)
    breaks = direction in case.breaks
    assert (case.kind, case.sentence, breaks) in [(each.kind, each.sentence, each.breaks) for each in found]
    assert any(each.breaks for each in found) is breaks
    assert {(each.topic, each.direction) for each in found} == {("orders", direction)}


@pytest.mark.parametrize("direction", [RECEIVED, SENT])
@pytest.mark.parametrize("case", TWELVE + MORE)
def test_nothing_is_told_where_nothing_has_changed(case: Case, direction: str) -> None:
    assert between(direction, case.before, case.before) == []


def test_there_are_twelve_kinds() -> None:
    assert len({each.values[0].kind for each in TWELVE}) == 12


def test_a_field_inside_another_is_told_by_the_way_to_it() -> None:
    (change,) = between(RECEIVED, order(lines=(list[Line], ...)), order(lines=(list[LineWithCount], ...)))
    assert str(change) == "orders, received Order: field Lines[].Count was added, and is required"
    assert change.field == "Lines[].Count"


def test_a_model_within_a_union_is_compared_with_its_successor() -> None:
    (change,) = between(SENT, order(f=(Line | None, None)), order(f=(LineWithCount | None, None)))
    assert str(change) == "orders, sent Order: field F.Count was added, and is required"


def test_a_type_that_holds_itself_is_compared_once() -> None:
    found = between(RECEIVED, order(f=(Node, ...)), order(f=(LongerNode, ...)))
    sentences = {each.sentence for each in found if each.breaks}
    assert sentences == {
        "field F.Value was integer, and is string",
    }


class Closed(ConvexMessage, extra="forbid"):
    id: int


class ClosedWithMore(ConvexMessage, extra="forbid"):
    id: int
    more: int = 0


ClosedWithMore.__name__ = ClosedWithMore.__qualname__ = "Closed"


@pytest.mark.parametrize(
    ("direction", "before", "after", "breaks"),
    [
        (RECEIVED, ClosedWithMore, Closed, True),
        (SENT, Closed, ClosedWithMore, True),
        (RECEIVED, Closed, ClosedWithMore, False),
    ],
)
def test_a_message_that_takes_no_other_fields_breaks_by_fields(
    direction: str, before: Any, after: Any, breaks: bool
) -> None:
    changes = [each for each in between(direction, before, after) if each.field == "More"]
    assert [each.breaks for each in changes] == [breaks]


def test_whether_other_fields_are_taken() -> None:
    class Order(ConvexMessage, extra="forbid"):
        id: int

    (change,) = between(RECEIVED, order(**ID), Order)
    assert change.sentence == "the message takes no other fields now"
    assert change.breaks
    (change,) = between(SENT, Order, order(**ID))
    assert change.sentence == "the message takes other fields now"
    assert change.breaks
