"""What every command has in hand: its common options, its output, and on demand settings, app and cluster."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from convex_messaging_fastapi.cli.app import Handler, handlers_of, settings_of
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.finding import Found, Named, found_by, named_app, usual_app
from convex_messaging_fastapi.cli.output import Output

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from convex_messaging_fastapi.bus import MessageBus
    from convex_messaging_fastapi.operations import Operations
    from convex_messaging_fastapi.parts import Parts
    from convex_messaging_fastapi.settings import MessagingSettings
    from convex_messaging_fastapi.transport.kafka.admin import Inspector


@dataclass(frozen=True, slots=True)
class Options:
    """Those that every command takes."""

    app: str | None = None
    app_dir: Path = Path()
    bootstrap_servers: str | None = None
    json: bool = False
    debug: bool = False


@dataclass
class Session:
    """One command's run.

    `done` is what an interruption tells: what was done by then.
    """

    options: Options
    out: Output = field(init=False)
    done: str = ""

    def __post_init__(self) -> None:
        self.out = Output(as_json=self.options.json)

    @cached_property
    def found(self) -> Found:
        """The app and its bus, loaded and not started. Raises `Ended` where there is none."""
        return found_by(self._named, self.options.app_dir)

    @property
    def bus(self) -> MessageBus:
        return self.found.bus

    @cached_property
    def settings(self) -> MessagingSettings:
        """The app's own where an app was named for us, else as they stand outside the code."""
        if self.is_app_named:
            return self.settings_of_app
        from convex_messaging_fastapi.settings import load

        return load(**self._overrides)

    @cached_property
    def has_app(self) -> bool:
        """Whether one was named, or stands where most do."""
        return self._named is not None or usual_app(self.options.app_dir) is not None

    @cached_property
    def is_app_named(self) -> bool:
        """Whether an app was named for this command line."""
        return self._named is not None and self._named.is_for_us

    @cached_property
    def settings_of_app(self) -> MessagingSettings:
        return settings_of(self.bus, **self._overrides)

    @cached_property
    def handlers(self) -> list[Handler]:
        return handlers_of(self.bus, self.settings_of_app)

    def topic(self, name: str) -> str:
        """Its name in the cluster. Raises `ConfigurationError` for what cannot be one."""
        from convex_messaging_fastapi.messages import topic_on_wire

        return topic_on_wire(self.settings.topic_prefix, name)

    def parts(self, settings: MessagingSettings) -> Parts:
        """What a bus has before any handler runs. Raises `Ended` for a broker in memory."""
        refuse_memory(settings)
        from convex_messaging_fastapi.clock import SystemClock
        from convex_messaging_fastapi.parts import parts_for, transport_for

        clock = SystemClock()
        return parts_for(settings, transport_for(settings, clock), clock)

    @asynccontextmanager
    async def operations(self, *, of_app: bool = False) -> AsyncIterator[Operations]:
        """What an operator may do, without a running bus; `of_app` where its handlers are needed.

        What it has begun ends between two transactions. Raises `Ended` for a broker in memory.
        """
        settings = self.settings_of_app if of_app or self.is_app_named else self.settings
        parts = self.parts(settings)
        from convex_messaging_fastapi.operations import Operations, known_handlers

        if of_app or self.is_app_named:
            ops = Operations(parts, partial(known_handlers, self.bus._declarations, parts))
        else:
            ops = Operations(parts)
        try:
            yield ops
        finally:
            await ops.stop()

    @property
    def words(self) -> list[str]:
        """The common options as they were given, for a command that is told."""
        options = self.options
        return [
            *(["--app", options.app] if options.app else []),
            *(["--app-dir", str(options.app_dir)] if options.app_dir != Path() else []),
            *(["--bootstrap-servers", options.bootstrap_servers] if options.bootstrap_servers else []),
        ]

    def inspect(self, settings: MessagingSettings | None = None) -> AbstractAsyncContextManager[Inspector]:
        """A connection to the cluster to ask questions on. Raises `Ended` where there is none to reach."""
        settings = settings or self.settings
        refuse_memory(settings)
        from convex_messaging_fastapi.transport.kafka import inspecting

        return inspecting(settings)

    @cached_property
    def _named(self) -> Named | None:
        return named_app(self.options.app, os.environ, self.options.app_dir)

    @property
    def _overrides(self) -> dict[str, str]:
        servers = self.options.bootstrap_servers
        return {"bootstrap_servers": servers} if servers else {}


def refuse_memory(settings: MessagingSettings) -> None:
    """A broker in memory is in the process that uses it, and this is another one."""
    if settings.is_memory:
        raise Ended(
            ExitCode.USAGE,
            f"bootstrap_servers is {settings.bootstrap_servers}, a broker inside the app's process: there is "
            "nothing to ask from outside. Give --bootstrap-servers host:port",
        )
