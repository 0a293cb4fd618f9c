"""The one way to wrap handling and publishing: what a middleware is, and how several become one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from convex_messaging_fastapi.errors import PublishUnknown
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Delivery

CallNext = Callable[[Delivery | list[Delivery], Any], Awaitable[None]]
"""The rest of an attempt: the next middleware, and last the handler with its dependencies."""


Receipts = Receipt | list[Receipt]
"""One receipt, or for `publish_many` a list of them in the order of the messages."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is about to be published, as the caller gave it: not encoded yet, without headers of ours.

    `topic` is without the prefix, `timeout` is seconds. `message` is a list for `publish_many`, where
    `key` may be a function of a message, and `None` for `tombstone`. `dataclasses.replace` changes a part.
    """

    topic: str
    message: Any
    key: str | bytes | Callable[[Any], str | bytes | None] | None
    headers: Mapping[str, str | bytes]
    correlation_id: str | None
    timeout: float | None
    verb: Literal["publish", "publish_many", "tombstone"]


PublishNext = Callable[[Outgoing], Awaitable[Receipts]]
"""The rest of a publish: the next middleware, and last the encoding and the cluster's answer."""


class Middleware:
    """Wraps every attempt to handle a message, and every publish. Derive from it, and give that to the bus.

        class Timed(Middleware):
            async def __call__(self, delivery, message, call_next):
                began = time.monotonic()
                await call_next(delivery, message)
                print(time.monotonic() - began)

        bus = MessageBus(middleware=[Timed()])

    The first in the list is the outermost. A method that is not overridden costs nothing.
    """

    async def __call__(self, delivery: Delivery | list[Delivery], message: Any, call_next: CallNext) -> None:
        """One attempt at a decoded message; for a batch handler, two lists of one length.

        It runs within the attempt's timeout and in the handler's context: the handler and its
        dependencies see the context variables that are set here, and no other message does. An
        exception counts as the handler's own. A return counts as handled, even without a call of
        `call_next`, or after an exception of it that was swallowed. Two calls of `call_next` handle the
        message twice, as one attempt. Hand a batch on with all its members in their order, because
        `BatchFailed` counts by them.
        """
        await call_next(delivery, message)

    async def publish(self, outgoing: Outgoing, call_next: PublishNext) -> Receipts:
        """One call of `publish`, `send`, `publish_many` or `tombstone`, in the context of its caller.

        `call_next` publishes what it is given, which may have another message, key or headers; its
        `timeout` counts from then. The caller gets what this raises or returns, so return what
        `call_next` returned. Two calls of `call_next` publish twice; without one nothing is published,
        and this must raise. Dead letters do not pass through here.
        """
        return await call_next(outgoing)


def around_handler(middleware: Iterable[Middleware], handler: CallNext) -> CallNext:
    """`handler` with all of these around it, the first outermost; without any, `handler` itself."""
    for each in reversed(tuple(middleware)):
        if type(each).__call__ is not Middleware.__call__:
            handler = _around(each.__call__, handler)
    return handler


def _around(
    wrap: Callable[[Delivery | list[Delivery], Any, CallNext], Awaitable[None]], call_next: CallNext
) -> CallNext:
    return lambda delivery, message: wrap(delivery, message, call_next)


def around_publish(middleware: Iterable[Middleware], write: PublishNext) -> PublishNext:
    """`write` with all of these around it, the first outermost; without any, `write` itself."""
    for each in reversed(tuple(middleware)):
        if type(each).publish is not Middleware.publish:
            write = _with_receipts(each, write)
    return write


def _with_receipts(middleware: Middleware, call_next: PublishNext) -> PublishNext:
    async def publish(outgoing: Outgoing) -> Receipts:
        receipts = await middleware.publish(outgoing, call_next)
        wanted = list if outgoing.verb == "publish_many" else Receipt
        if not isinstance(receipts, wanted):
            raise PublishUnknown(
                f"{type(middleware).__qualname__}.publish returned {type(receipts).__name__}, so this may be "
                "written, or may not. A middleware returns what `call_next` returned, or raises"
            )
        return receipts

    return publish
