"""What an app has declared, read from its bus without starting it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convex_messaging_fastapi.bus import MessageBus
    from convex_messaging_fastapi.consuming.calling import CallPlan
    from convex_messaging_fastapi.settings import MessagingSettings
    from convex_messaging_fastapi.subscribers import Declaration


@dataclass(frozen=True, slots=True)
class Handler:
    """One handler, with its names as they are in the cluster and every default filled in."""

    declared: Declaration
    plan: CallPlan
    topics: tuple[str, ...]
    group: str
    concurrency: int
    attempts: int | None

    @property
    def message(self) -> str:
        """What it takes, as a user wrote it."""
        annotation: Any = self.plan.message
        return (
            annotation.__name__ if isinstance(annotation, type) else str(annotation).rpartition("typing.")[2]
        )


def settings_of(bus: MessageBus, **overrides: str) -> MessagingSettings:
    """Those that the bus would start with. Raises `ConfigurationError`."""
    # The end of this process is no time to tell that handlers got no message.
    settings = bus._read()
    return settings.model_copy(update=overrides) if overrides else settings


def handlers_of(bus: MessageBus, settings: MessagingSettings) -> list[Handler]:
    """All of them, in the order in which they were declared."""
    from convex_messaging_fastapi.naming import Naming

    naming = Naming(settings)
    return [
        Handler(
            declared=declared,
            plan=bus._declarations.plan_of(declared),
            topics=tuple(naming.topic(topic) for topic in declared.topics),
            group=naming.group_of(declared),
            concurrency=declared.options.concurrency or settings.concurrency,
            attempts=(declared.options.retry or settings.default_retry).attempts,
        )
        for declared in bus._declarations
    ]


def drain_within(bus: MessageBus, settings: MessagingSettings, seconds: float) -> None:
    """Let running handlers have so long when the bus stops, and the rest of its stop what it had before."""
    rest = settings.shutdown_timeout_seconds - settings.drain_timeout_seconds
    bus._settings = settings.model_copy(
        update={"drain_timeout_seconds": seconds, "shutdown_timeout_seconds": seconds + rest}
    )
