"""The handlers of one bus, each once and with its call plan, wherever they were declared."""

from __future__ import annotations

from collections.abc import Iterator

from convex_messaging_fastapi.consuming.calling import CallPlan, compile_call
from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.misuse import kind_of
from convex_messaging_fastapi.subscribers import Declaration, Publication, Subscribers, Take
from convex_messaging_fastapi.unstarted import unstarted


class Declarations:
    """Declarations by their ids. Plans are compiled here, where the names in annotations can be resolved."""

    def __init__(self) -> None:
        self._declared = Subscribers()
        self._plans: dict[str, CallPlan] = {}
        self._included: list[Subscribers] = []

    def __iter__(self) -> Iterator[Declaration]:
        return iter(self._declared)

    @property
    def publications(self) -> tuple[Publication, ...]:
        """What the app says it publishes, on the bus or on what it includes."""
        told = (self._declared, *self._included)
        return tuple(each for subscribers in told for each in subscribers._publications)

    def note(self, published: Publication) -> None:
        self._declared._note(published)

    def get(self, id: str) -> Declaration | None:
        return self._declared.get(id)

    def plan_of(self, declared: Declaration) -> CallPlan:
        return self._plans[declared.id]

    def add(self, declared: Declaration) -> Declaration:
        """Raises `DeclarationError` for what cannot be handled."""
        plan = compile_call(declared.handler, batch=declared.options.batch is not None)
        taken = self._declared.add(declared)
        self._plans[taken.id] = plan
        unstarted.expect(self)
        return taken

    def take_back(self, declared: Declaration) -> None:
        """Forget this declaration, and not another that has taken its id since."""
        if self._declared.get(declared.id) is declared:
            self._declared.remove(declared.id)
            del self._plans[declared.id]

    def include(self, subscribers: Subscribers, add_late: Take) -> None:
        """Add all of `subscribers` or none; `add_late` gets what is declared on them later.

        Raises `DeclarationError` for handlers that are here already: they would get each message twice.
        """
        if not isinstance(subscribers, Subscribers):
            raise DeclarationError(f"bus.include takes Subscribers, not {kind_of(subscribers)}")
        if any(known is subscribers for known in self._included):
            raise DeclarationError(
                "these Subscribers are included already: include them once, where the bus is made"
            )
        taken: list[Declaration] = []
        try:
            for declared in subscribers:
                self.refuse_second_copy(declared)
                taken.append(self.add(declared))
        except BaseException:
            for declared in taken:
                self.take_back(declared)
            raise
        self._included.append(subscribers)
        subscribers.tell(add_late)

    def refuse_second_copy(self, declared: Declaration) -> None:
        """Raises `DeclarationError` where the same function handles the same topic for the same group."""
        for other in self._declared:
            both = sorted(set(other.topics) & set(declared.topics))
            if both and _is_copy(other, declared):
                raise DeclarationError(
                    f"the handler {other.id!r} of {both[0]!r} is included already: a second copy in the same "
                    "group would handle each message twice. Include it once, or give this one a `group=`"
                )


def _is_copy(one: Declaration, other: Declaration) -> bool:
    return (one.kind, one.handler, one.options.group) == (other.kind, other.handler, other.options.group)
