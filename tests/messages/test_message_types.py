"""A model has one name on the wire, and may be meant by several."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Generic, TypeVar

import pytest

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.messages.message_types import (
    ATTRIBUTE,
    WireNames,
    bare_name,
    names_read,
    wire_name,
)

T = TypeVar("T")


class Shipped(ConvexMessage):
    order_id: int


class Renamed(ConvexMessage):
    order_id: int


class Sub(Renamed):
    pass


class Envelope(ConvexMessage, Generic[T]):
    data: T


@dataclass
class Plain:
    id: int


setattr(Renamed, ATTRIBUTE, WireNames("Orders.OrderShipped", ("ShippedV1",)))


@pytest.mark.parametrize(
    ("model", "name", "read"),
    [
        (Shipped, "Shipped", {"Shipped"}),
        (Renamed, "Orders.OrderShipped", {"OrderShipped", "ShippedV1"}),
        (Sub, "Sub", {"Sub"}),
        (Envelope, "Envelope", {"Envelope"}),
        (Envelope[int], "Envelope", {"Envelope"}),
        (Envelope[Shipped], "Envelope", {"Envelope"}),
        (Plain, "Plain", {"Plain"}),
        (dict, "dict", {"dict"}),
    ],
)
def test_a_model_is_known_by_its_own_word_else_by_its_class(
    model: type, name: str, read: AbstractSet[str]
) -> None:
    assert (wire_name(model), names_read(model)) == (name, read)


@pytest.mark.parametrize(
    "header",
    [
        "Shipped",
        "Shop.Orders.Shipped",
        "Shipped[int]",
        "Shop.Shipped<Shop.Order, System.Int32>",
        "Shop.Shipped`1[[System.Int32, mscorlib]]",
        "Shop.Shipped, Shop.Contracts, Version=1.0.0.0",
    ],
)
def test_a_header_names_the_class_whatever_stands_around_it(header: str) -> None:
    assert bare_name(header) == "Shipped"
