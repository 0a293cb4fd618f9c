"""What a relay asks of the database, and what it writes there."""

from convex_messaging_fastapi.outbox.store.fetching import Fetched
from convex_messaging_fastapi.outbox.store.leasing import Beat
from convex_messaging_fastapi.outbox.store.measuring import Backlog
from convex_messaging_fastapi.outbox.store.parking import ParkedMessage
from convex_messaging_fastapi.outbox.store.store import Store

__all__ = ["Backlog", "Beat", "Fetched", "ParkedMessage", "Store"]
