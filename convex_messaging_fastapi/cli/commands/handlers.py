"""`handlers`: what the app has declared."""

from __future__ import annotations

from typing import Any

import typer

from convex_messaging_fastapi.cli.app import Handler
from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.session import Session


def add_to(root: typer.Typer) -> None:
    command(root, "handlers", without=("bootstrap_servers",))(handlers)


def handlers(session: Session) -> None:
    """List the handlers that the app declares.

    With their topics and groups as they are called in the cluster.
    """
    if session.out.as_json:
        session.out.json([_described(handler) for handler in session.handlers])
        return
    rows = [
        (
            handler.declared.id,
            handler.declared.kind,
            ", ".join(handler.topics),
            handler.group,
            handler.message,
        )
        for handler in session.handlers
    ]
    session.out.table(("HANDLER", "KIND", "TOPICS", "GROUP", "MESSAGE"), rows)


def _described(handler: Handler) -> dict[str, Any]:
    options = handler.declared.options
    return {
        "id": handler.declared.id,
        "kind": handler.declared.kind,
        "topics": list(handler.topics),
        "group": handler.group,
        "message": handler.message,
        "ordering": options.ordering,
        "concurrency": handler.concurrency,
        "attempts": handler.attempts,
        "dead_letter": options.dead_letter,
        "timeout_seconds": options.timeout,
        "batch_records": options.batch and options.batch.max_records,
    }
