"""Filters that services need again and again: which messages of a topic a handler takes."""

from __future__ import annotations

from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.messages.choosing import named_type
from convex_messaging_fastapi.messages.message_types import names_read
from convex_messaging_fastapi.policies import Filter, shown
from convex_messaging_fastapi.records import Delivery


def of_type(*models: type) -> Filter:
    """A filter by the `message-type` header: messages that name another type are passed over.

    A message whose header names none is for the handler. Of `Shop.Orders.Shipped` and `Shipped[Order]`
    the name is `Shipped`. A model is meant by its class name, or by what its `message_type` and `reads`
    say. Raises `DeclarationError` for what is no class.

        @bus.subscriber("orders", filter=of_type(Shipped, Delivered))
        async def tell_customer(event: Shipped | Delivered) -> None: ...
    """
    if not models:
        raise DeclarationError("of_type takes at least one model, as in filter=of_type(OrderShipped)")
    for model in models:
        if not isinstance(model, type):
            raise DeclarationError(
                f"of_type takes classes, as in of_type(OrderShipped, OrderCancelled), not {shown(model)}"
            )
    return _OfType(frozenset[str]().union(*map(names_read, models)))


class _OfType:
    """Answers for one message after another."""

    __slots__ = ("_names",)

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def __repr__(self) -> str:
        return f"of_type({', '.join(sorted(self._names))})"

    def __call__(self, delivery: Delivery) -> bool:
        named = named_type(delivery.record.headers)
        return named is None or named in self._names
