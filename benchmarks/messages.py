"""What every contestant publishes and handles: one typed message of three fields, five headers, some keys."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import BaseModel

from benchmarks.job import Job

TYPE = "UserCreated"
HEADERS: list[tuple[str, bytes]] = [
    ("message-type", TYPE.encode()),
    ("timestamp", b"1767225600"),
    ("message-id", b"5a0f5d6c-5d0b-4d1b-9d53-2f5a4f6c7e8d"),
    ("correlation-id", b"5a0f5d6c-5d0b-4d1b-9d53-2f5a4f6c7e8d"),
    ("content-type", b"application/json"),
]
"""Of the records that are read. Of those that are published, each has an id and a time of its own."""

Headers = list[tuple[str, bytes]]

FULL_SIZE = 1024


class UserCreated(BaseModel):
    user_id: int
    email: str
    created_at: datetime


def message(user_id: int, size: int = 0) -> UserCreated:
    """About a hundred bytes of JSON, or `size` where that is more."""
    created = datetime(2026, 1, 1, 12, 30, 15, 123456, UTC)
    short = UserCreated(user_id=user_id, email=f"somebody.{user_id}@example.com", created_at=created)
    missing = size - len(encoded(short)) if size else 0
    return short.model_copy(update={"email": "x" * missing + short.email}) if missing > 0 else short


def new_headers() -> Headers:
    """The five of one message, made as anybody would who has to."""
    message_id = str(uuid.uuid4()).encode()
    return [
        ("message-type", b"UserCreated"),
        ("timestamp", str(int(time.time())).encode()),
        ("message-id", message_id),
        ("correlation-id", message_id),
        ("content-type", b"application/json"),
    ]


def headers_for(job: Job) -> Callable[[], Headers]:
    """What answers the headers of the next message, as the job has them."""
    if job.headers == "none":
        return list
    return new_headers if job.headers == "new" else lambda: HEADERS


def encoded(event: UserCreated) -> bytes:
    return event.model_dump_json().encode()


def key(number: int, keys: int) -> str | None:
    """The key of the message with that number; none where there are no keys."""
    return f"user-{number % keys}" if keys else None
