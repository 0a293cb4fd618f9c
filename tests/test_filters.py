"""`of_type` passes over what names another type, and lets through what names none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from convex_messaging_fastapi import ConvexMessage, DeclarationError, Delivery, of_type
from convex_messaging_fastapi.messages.message_types import ATTRIBUTE, WireNames
from convex_messaging_fastapi.records import Headers, Record

T = TypeVar("T")


class Shipped(ConvexMessage):
    order_id: int


class Cancelled(ConvexMessage):
    order_id: int


class Envelope(ConvexMessage, Generic[T]):
    data: T


class Renamed(ConvexMessage):
    pass


setattr(Renamed, ATTRIBUTE, WireNames("OrderRenamed", ("RenamedV1",)))


class Plain(BaseModel):
    id: int


@dataclass
class Data:
    id: int


class Typed(TypedDict):
    id: int


def delivery(*named: bytes | None) -> Delivery:
    headers: Headers = (("other", b"x"), *(("message-type", name) for name in named))
    return Delivery(Record("orders", 0, 0, 0, None, b"{}", headers))


@pytest.mark.parametrize(
    ("models", "named", "is_wanted"),
    [
        ((Shipped,), b"Shipped", True),
        ((Shipped,), b"Shop.Orders.Shipped", True),
        ((Shipped,), b"Shipped, Shop.Contracts", True),
        ((Shipped,), b"Cancelled", False),
        ((Shipped,), b"shipped", False),
        ((Shipped,), b"Shipped2", False),
        ((Shipped,), b"Shipped.Old", False),
        ((Shipped,), b"\xff\xfe", False),
        ((Shipped,), b"S" * 70_000, False),
        ((Shipped,), b"", True),
        ((Shipped,), b" ", True),
        ((Shipped,), b"Shop.", True),
        ((Shipped,), None, True),
        ((Shipped, Cancelled), b"Cancelled", True),
        ((Shipped, Cancelled), b"Refunded", False),
        ((Envelope[int],), b"Envelope", True),
        ((Envelope,), b"Envelope[Shipped]", True),
        ((Renamed,), b"OrderRenamed", True),
        ((Renamed,), b"RenamedV1", True),
        ((Renamed,), b"Renamed", False),
        ((Plain, Data, Typed), b"Plain", True),
        ((Plain, Data, Typed), b"Data", True),
        ((Plain, Data, Typed), b"Typed", True),
        ((dict,), b"dict", True),
    ],
)
def test_the_header_decides_where_it_names_a_type(
    models: tuple[type, ...], named: bytes | None, is_wanted: bool
) -> None:
    assert of_type(*models)(delivery(named)) is is_wanted


def test_without_a_header_a_message_is_for_the_handler() -> None:
    assert of_type(Shipped)(delivery())


def test_of_a_header_that_comes_twice_the_last_counts() -> None:
    assert of_type(Shipped)(delivery(b"Cancelled", b"Shipped"))
    assert not of_type(Shipped)(delivery(b"Shipped", b"Cancelled"))
    assert of_type(Shipped)(delivery(b"Shipped", None))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ((), "takes at least one model"),
        (("Shipped",), "takes classes.*not 'Shipped'"),
        ((Shipped(order_id=1),), "takes classes"),
        ((Shipped | Cancelled,), "takes classes"),
        ((list[Shipped],), "takes classes"),
        ((Shipped, None), "takes classes.*not None"),
    ],
)
def test_what_is_no_model_is_refused(wrong: tuple[Any, ...], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        of_type(*wrong)


def test_it_says_what_it_takes() -> None:
    made: Callable[[Delivery], bool] = of_type(Shipped, Cancelled)
    assert repr(made) == "of_type(Cancelled, Shipped)"
