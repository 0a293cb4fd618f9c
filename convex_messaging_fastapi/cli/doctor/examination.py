"""The order of the checks, and where they end: behind a step that cannot be made none is tried."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from convex_messaging_fastapi.cli.doctor import cluster, connection, local
from convex_messaging_fastapi.cli.doctor.findings import Finding, Mark, wrong
from convex_messaging_fastapi.cli.doctor.needs import needs_of
from convex_messaging_fastapi.cli.session import Session, refuse_memory
from convex_messaging_fastapi.errors import ConfigurationError, TransportError


@dataclass
class Examination:
    """What was found so far."""

    findings: list[Finding]
    tell: Callable[[Finding], None]

    def note(self, finding: Finding) -> None:
        self.findings.append(finding)
        self.tell(finding)

    @property
    def is_well(self) -> bool:
        return all(finding.mark is not Mark.WRONG for finding in self.findings)


async def examine(session: Session, seconds: float, tell: Callable[[Finding], None]) -> Examination:
    """Make every check, each step within so many seconds; `tell` hears of each when it is made."""
    examination = Examination([], tell)
    async for finding in _all(session, seconds):
        examination.note(finding)
    return examination


async def _all(session: Session, seconds: float) -> AsyncIterator[Finding]:
    for finding in (*local.of_versions(), *local.of_engine()):
        yield finding
        if finding.mark is Mark.WRONG:
            return
    try:
        settings = session.settings_of_app if session.has_app else session.settings
        handlers = session.handlers if session.has_app else None
    except ConfigurationError as error:
        for line in str(error).splitlines():
            yield wrong(
                "settings", line.removeprefix("  - "), "as it says; `convex-messaging settings --sources`"
            )
        return
    refuse_memory(settings)
    for finding in local.of_settings(settings):
        yield finding
    try:
        async for finding in connection.of_way(settings, seconds):
            yield finding
    except connection.NoWay:
        return
    try:
        async with session.inspect(settings) as inspector:
            seen = await cluster.look(inspector, settings, needs_of(settings, handlers))
            for finding in cluster.of_cluster(seen):
                yield finding
            async for finding in cluster.of_transactions(inspector, seen, seconds):
                yield finding
    except TransportError as error:
        yield wrong(
            "topics", f"the cluster cannot be asked: {error}", "run this again once its brokers are up"
        )
        return
    for finding in local.of_partitioner(settings):
        yield finding
