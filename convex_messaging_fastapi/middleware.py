"""The one way to wrap handling: what a middleware is, and how several become one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from convex_messaging_fastapi.records import Delivery

CallNext = Callable[[Delivery | list[Delivery], Any], Awaitable[None]]
"""The rest of an attempt: the next middleware, at last the handler with its dependencies."""


class Middleware:
    """Wraps every attempt to handle a message. Derive from it, and give what you derive to the bus.

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
