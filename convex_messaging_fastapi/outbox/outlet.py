"""Publishes rows by the publisher of the bus."""

from __future__ import annotations

from collections.abc import Sequence

from convex_messaging_fastapi.errors import PublishError
from convex_messaging_fastapi.publishing import Publishing
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecords
from convex_messaging_fastapi.verdicts import CONTACT_SECONDS

_OF_ONE_TOPIC = (None, "not_authorized", "topic_missing", "unreadable")
"""Problems that say nothing about other topics."""


class BusOutlet:
    """The cluster, as a relay sees it."""

    def __init__(self, publishing: Publishing) -> None:
        self._publishing = publishing

    def in_contact(self) -> bool:
        """Whether the cluster has answered lately, and nothing is wrong with it as a whole."""
        contact = self._publishing.status().contact
        is_fresh = contact.age_seconds is not None and contact.age_seconds <= CONTACT_SECONDS
        return is_fresh and contact.problem in _OF_ONE_TOPIC

    async def publish(
        self, topic: str, records: OutgoingRecords, timeout: float
    ) -> Sequence[Receipt | PublishError]:
        return await self._publishing.write_each(topic, records, timeout)
