"""Messages that are published exactly if your transaction commits, and handled once by your own database.

Needs the extra `[outbox]`, and the driver of your database, which is yours to choose.
"""

from __future__ import annotations

from convex_messaging_fastapi.errors import ConfigurationError

try:
    import sqlalchemy  # noqa: F401
except ImportError as _missing:
    raise ConfigurationError(
        "the outbox needs SQLAlchemy: pip install 'convex-messaging-fastapi[outbox]'"
    ) from _missing

from convex_messaging_fastapi.outbox.inbox import Inbox
from convex_messaging_fastapi.outbox.outbox import Outbox
from convex_messaging_fastapi.outbox.store import Backlog, ParkedMessage
from convex_messaging_fastapi.outbox.tables import MessagingTables

__all__ = ["Backlog", "Inbox", "MessagingTables", "Outbox", "ParkedMessage"]
