"""Declarations, collected before a bus runs them, so that handler modules need not import the app's bus."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any, Literal, TypeVar, get_origin
from weakref import WeakMethod

from convex_messaging_fastapi.choices import (
    Batch,
    Breaker,
    Concurrency,
    DeadLetter,
    Filter,
    Group,
    Id,
    Ordering,
    Retry,
    Timeout,
    telling,
)
from convex_messaging_fastapi.errors import ConfigurationError, DeclarationError
from convex_messaging_fastapi.messages import topic_on_wire
from convex_messaging_fastapi.policies import SubscriberOptions, shown

Handler = Callable[..., Any]
F = TypeVar("F", bound=Handler)

Kind = Literal["event", "command"]
"""`event`: every group gets its own copy. `command`: one receiver in the whole fleet gets it."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A handler and what it is for. Topics are as the user wrote them, without the prefix."""

    id: str
    kind: Kind
    topics: tuple[str, ...]
    handler: Handler
    options: SubscriberOptions


@dataclass(frozen=True, slots=True)
class Publication:
    """A type of message that an app says it publishes. The topic is as the user wrote it."""

    topic: str
    message: Any


Take = Callable[[Declaration], Callable[[], object]]
"""Adds a declaration; returns a function that removes it again."""


class Declares:
    """The decorators that a bus and its `Subscribers` have in common."""

    @telling
    def subscriber(
        self,
        *topics: str,
        group: Group = None,
        id: Id = None,
        concurrency: Concurrency = None,
        ordering: Ordering = "key",
        retry: Retry = None,
        dead_letter: DeadLetter = "bury",
        timeout: Timeout = None,
        batch: Batch = None,
        filter: Filter = None,
        breaker: Breaker = None,
    ) -> Callable[[F], F]:
        """Declare a handler of events; the function itself stays as it is.

        Raises `DeclarationError` with the sentence that fixes it for a mistake in a keyword, and for a
        handler that asks for something that no message can supply. While the bus runs, use
        `await bus.subscribe(...)`.
        """
        options = SubscriberOptions(
            group, id, concurrency, ordering, retry, dead_letter, timeout, batch, filter, breaker
        )
        return declaring("event", topics, options, self._declare)

    @telling
    def receiver(
        self,
        queue: str,
        *,
        group: Group = None,
        id: Id = None,
        concurrency: Concurrency = None,
        ordering: Ordering = "key",
        retry: Retry = None,
        dead_letter: DeadLetter = "bury",
        timeout: Timeout = None,
        batch: Batch = None,
        filter: Filter = None,
        breaker: Breaker = None,
    ) -> Callable[[F], F]:
        """Declare the one handler of a queue; otherwise as `subscriber`."""
        options = SubscriberOptions(
            group, id, concurrency, ordering, retry, dead_letter, timeout, batch, filter, breaker
        )
        return declaring("command", (queue,), options, self._declare)

    def publishes(self, topic: str, message: Any) -> None:
        """Say that this app publishes messages of this type to a topic, or sends them to a queue.

        The topic is without the prefix. Several types of one topic are a call each, or a union; `None` is a
        tombstone. It is for the AsyncAPI document alone: nothing that is published is checked against it.
        Raises `DeclarationError` for what cannot be the name of a topic, and for what is no type.

            bus.publishes("user.created", UserCreated)
        """
        self._note(_publication(topic, message))

    def _declare(self, declared: Declaration) -> object:
        """Add one declaration, or raise."""
        raise NotImplementedError

    def _note(self, published: Publication) -> None:
        """Add one that is not there yet."""
        raise NotImplementedError


class Joins:
    """The same verbs of a bus that runs."""

    @telling
    async def subscribe(
        self,
        topic: str,
        handler: Handler,
        *,
        group: Group = None,
        id: Id = None,
        concurrency: Concurrency = None,
        ordering: Ordering = "key",
        retry: Retry = None,
        dead_letter: DeadLetter = "bury",
        timeout: Timeout = None,
        batch: Batch = None,
        filter: Filter = None,
        breaker: Breaker = None,
    ) -> str:
        """Add a handler of events while the bus runs; returns the id that `unsubscribe` takes.

        If the group reads the topic already, the handler gets messages from the next record on; a new
        topic drains the group's consumer and rebuilds it. Changes of one group wait for each other.
        Cancelling this call does not cancel the change. A handler that is refused is not declared. Raises
        `DeclarationError` as `subscriber` does, and `BusStateError` when the bus does not run, and in a
        handler of the same group if the drain would wait for that handler.
        """
        options = SubscriberOptions(
            group, id, concurrency, ordering, retry, dead_letter, timeout, batch, filter, breaker
        )
        return await self._join(declaration("event", (topic,), handler, options))

    @telling
    async def receive(
        self,
        queue: str,
        handler: Handler,
        *,
        group: Group = None,
        id: Id = None,
        concurrency: Concurrency = None,
        ordering: Ordering = "key",
        retry: Retry = None,
        dead_letter: DeadLetter = "bury",
        timeout: Timeout = None,
        batch: Batch = None,
        filter: Filter = None,
        breaker: Breaker = None,
    ) -> str:
        """Add the one handler of a queue while the bus runs; otherwise as `subscribe`."""
        options = SubscriberOptions(
            group, id, concurrency, ordering, retry, dead_letter, timeout, batch, filter, breaker
        )
        return await self._join(declaration("command", (queue,), handler, options))

    async def _join(self, declared: Declaration) -> str:
        """Add one declaration to what runs; returns its id."""
        raise NotImplementedError


class Subscribers(Declares):
    """Handlers declared away from the bus; `bus.include(subscribers)` takes them in.

    subscribers = Subscribers()

    @subscribers.subscriber("user.created")
    async def send_welcome(event: UserCreated) -> None: ...
    """

    def __init__(self) -> None:
        self._declarations: dict[str, Declaration] = {}
        self._publications: list[Publication] = []
        self._told: list[WeakMethod[Take]] = []

    def __iter__(self) -> Iterator[Declaration]:
        return iter(tuple(self._declarations.values()))

    def _declare(self, declared: Declaration) -> Declaration:
        return self.add(declared)

    def _note(self, published: Publication) -> None:
        if published not in self._publications:
            self._publications.append(published)

    def add(self, declared: Declaration) -> Declaration:
        """Add one declaration, and return it as it was added.

        If an id that was derived from the handler's name is taken already, it gets a number. Raises
        `DeclarationError` for an id that the user chose and that is taken, and for a second receiver of
        one queue.
        """
        if declared.kind == "command":
            self._refuse_second_receiver(declared)
        taken = replace(declared, id=self._free_id(declared))
        self._tell(taken)
        self._declarations[taken.id] = taken
        return taken

    def tell(self, take: Take) -> None:
        """Call `take`, a method, with each declaration added from now on, while its object lives.

        If one of them raises, the declaration is not added, and is removed from the others.
        """
        self._told.append(WeakMethod(take))

    def _tell(self, taken: Declaration) -> None:
        undo: list[Callable[[], object]] = []
        try:
            for method in self._told:
                if (take := method()) is not None:
                    undo.append(take(taken))
        except BaseException:
            for take_back in undo:
                take_back()
            raise

    def get(self, id: str) -> Declaration | None:
        return self._declarations.get(id)

    def remove(self, id: str) -> Declaration | None:
        return self._declarations.pop(id, None)

    def _free_id(self, declared: Declaration) -> str:
        if declared.id not in self._declarations:
            return declared.id
        if declared.options.id is not None:
            raise DeclarationError(f"two subscribers have the id {declared.id!r}: each needs one of its own")
        numbers = itertools.count(2)
        return next(id for n in numbers if (id := f"{declared.id}#{n}") not in self._declarations)

    def _refuse_second_receiver(self, declared: Declaration) -> None:
        for other in self._declarations.values():
            if other.kind == "command" and other.topics == declared.topics:
                raise DeclarationError(
                    f"queue {declared.topics[0]!r} already has the receiver {other.id!r}: a command has one "
                    "receiver; use a subscriber where several handlers must see each message"
                )


def declaring(
    kind: Kind,
    topics: tuple[str, ...],
    options: SubscriberOptions,
    add: Callable[[Declaration], object],
) -> Callable[[F], F]:
    """A decorator that adds a declaration of its function, and returns the function itself."""
    _check(topics)  # now: without parentheses the handler is taken for a topic, and `declare` is never called

    def declare(handler: F) -> F:
        add(declaration(kind, topics, handler, options))
        return handler

    return declare


def declaration(
    kind: Kind, topics: tuple[str, ...], handler: Handler, options: SubscriberOptions
) -> Declaration:
    """A checked declaration; its id is the handler's own name unless `options.id` says otherwise."""
    if isinstance(handler, classmethod):
        raise DeclarationError(
            f"{handler.__qualname__} is a class method that is not bound yet: declare it below its class, as "
            f"in bus.subscriber('topic')(Service.{handler.__name__})"
        )
    if not callable(handler):
        raise DeclarationError(f"a handler is a function of the message, not {shown(handler)}")
    _check(topics)
    return Declaration(options.id or _name(handler), kind, topics, handler, options)


def _publication(topic: str, message: Any) -> Publication:
    _check((topic,))
    try:
        topic_on_wire("", topic)  # no settings are read yet, and a prefix does not mend a name
    except ConfigurationError as error:
        raise DeclarationError(str(error)) from None
    if not _is_type(message):
        raise DeclarationError(
            f"a topic is published messages of a type, as in bus.publishes({topic!r}, UserCreated), "
            f"not {shown(message)}"
        )
    return Publication(topic, NoneType if message is None else message)


def _is_type(value: Any) -> bool:
    """Any that an annotation may be; text that names one is refused, for nobody says where to look it up."""
    is_named = hasattr(value, "__value__") or hasattr(value, "__supertype__")  # an alias, a `NewType`
    return value is None or isinstance(value, type) or get_origin(value) is not None or is_named


def _check(topics: tuple[str, ...]) -> None:
    if not topics or not all(isinstance(topic, str) and topic for topic in topics):
        raise DeclarationError(
            "name at least one topic, each a non-empty string, as in `@bus.subscriber('user.created')`"
        )
    if len(set(topics)) != len(topics):
        raise DeclarationError(f"a topic is named twice in {topics!r}")


def _name(handler: Handler) -> str:
    qualified = getattr(handler, "__qualname__", type(handler).__qualname__)
    return f"{getattr(handler, '__module__', '?')}.{qualified}"
