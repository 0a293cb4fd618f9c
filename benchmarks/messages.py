"""What every contestant publishes and handles: one typed message of three fields, five headers, some keys."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel

TYPE = "UserCreated"
HEADERS: list[tuple[str, bytes]] = [
    ("message-type", TYPE.encode()),
    ("timestamp", b"1767225600"),
    ("message-id", b"5a0f5d6c-5d0b-4d1b-9d53-2f5a4f6c7e8d"),
    ("correlation-id", b"5a0f5d6c-5d0b-4d1b-9d53-2f5a4f6c7e8d"),
    ("content-type", b"application/json"),
]
"""Made once: the raw clients pay for carrying headers, not for making them, which favours them."""

FULL_SIZE = 1024


class UserCreated(BaseModel):
    user_id: int
    email: str
    created_at: datetime


def message(user_id: int, size: int = 0) -> UserCreated:
    """About a hundred bytes of JSON, or `size` where that is more."""
    created = datetime(2026, 1, 1, 12, 30, 15, 123456, UTC)
    short = UserCreated(user_id=user_id, email=f"somebody.{user_id}@example.com", created_at=created)
    missing = size - len(encoded(short))
    return short.model_copy(update={"email": "x" * missing + short.email}) if missing > 0 else short


def encoded(event: UserCreated) -> bytes:
    return event.model_dump_json().encode()


def key(number: int, keys: int) -> str | None:
    """The key of the message with that number; none where there are no keys."""
    return f"user-{number % keys}" if keys else None
