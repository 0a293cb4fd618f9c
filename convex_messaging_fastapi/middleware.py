"""The one way to wrap handling and publishing: what a middleware is, and how several become one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from convex_messaging_fastapi.errors import PublishUnknown
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Delivery

CallNext = Callable[[Delivery | list[Delivery], Any], Awaitable[None]]
"""The rest of an attempt: the next middleware, at last the handler with its dependencies."""


Receipts = Receipt | list[Receipt]
"""Of `publish_many` a list, in the order of the messages."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is about to be published, as the caller gave it: nothing is encoded, and no header is ours.

    `topic` is without the prefix. `message` is the list of `publish_many`, for which `key` may be a
    function, and `None` in a tombstone. `dataclasses.replace` makes another of it.
    """

    topic: str
    message: Any
    key: str | bytes | Callable[[Any], str | bytes | None] | None
    headers: Mapping[str, str | bytes]
    correlation_id: str | None
    timeout: float | None
    verb: Literal["publish", "publish_many", "tombstone"]


PublishNext = Callable[[Outgoing], Awaitable[Receipts]]
"""The rest of a publish: the next middleware, at last the encoding and the cluster's answer."""


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
        """One attempt, decoded already; of a batch handler two lists, as long as each other.

        It runs in the attempt's timeout and in the handler's context: the handler and its
        dependencies see the context variables that are set here, and no other message does. What
        this raises counts as if the handler had raised it; whatever it returns counts as
        handled, also where it never called `call_next` or swallowed what that raised. Called twice,
        `call_next` handles the message twice, as one attempt. A batch is handed on with all its
        members, in their order, for `BatchFailed` counts by them.
        """
        await call_next(delivery, message)

    async def publish(self, outgoing: Outgoing, call_next: PublishNext) -> Receipts:
        """One call of `publish`, `send`, `publish_many` or `tombstone`, in the context of its caller.

        What is given to `call_next` is what is published: another message, key or headers, say. Its
        time, `timeout`, begins then. What this raises the caller gets; what it returns, too, and so
        it returns what `call_next` returned. Called twice, `call_next` publishes twice; where it is
        not called, nothing is published, and this must raise. Dead letters do not come by here.
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
