"""Runs without a broker unless it is told of one: by `KAFKA_BOOTSTRAP_SERVERS`, or `appsettings.json`."""

from __future__ import annotations

from typing import Any

from convex_messaging_fastapi import MessagingSettings

DEFAULTS: dict[str, Any] = {"bootstrap_servers": "memory://", "consumer_group": "bets", "create_topics": True}


def settings() -> MessagingSettings:
    """What the outside says; what it does not say is as this example likes it."""
    said = MessagingSettings().model_fields_set
    return MessagingSettings(**{name: value for name, value in DEFAULTS.items() if name not in said})
