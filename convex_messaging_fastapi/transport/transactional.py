"""The seam's part for writing in transactions: all of several records, in any topics, or none.

Only readers that read committed see the difference, as every reader of this package does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol

from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition


class Fate(Enum):
    """What is known of a transaction that was not seen to be committed."""

    FENCED = "fenced"  # not committed: another has claimed the id, or it was open past its timeout
    FAILED = "failed"  # not committed; the same again may help
    TOO_LARGE = "too_large"  # not committed: one of the records is larger than its log takes
    REFUSED = "refused"  # not committed, and the same again cannot help: somebody must mend it
    UNKNOWN = "unknown"  # may be committed; whoever claims the id next settles it, either way


class NotCommitted(Exception):
    """The transaction, or the claim, came to nothing; `reason` never holds payload.

    The producer is of no further use, whatever the fate: stop it and claim the id with a new one,
    which ends what is still open.
    """

    def __init__(self, fate: Fate, reason: str) -> None:
        super().__init__(reason)
        self.fate: Fate = fate
        self.reason: str = reason


class TransactionalProducer(Protocol):
    """One owner of one transactional id, for one transaction after another; one task calls it.

    Every call raises `NotCommitted`; after the first there are no others but `stop`. Seconds are on the
    bus's clock.
    """

    async def claim(self) -> None:
        """Take the id, before anything else.

        When this returns whoever had the id is fenced, and what was open under it is aborted: nothing
        of it can land any more.
        """
        ...

    async def write(
        self, records: Mapping[TopicPartition, Sequence[OutgoingRecord]]
    ) -> Mapping[TopicPartition, Sequence[int]]:
        """Write all of these, in a transaction that the first such call begins; the offset of each.

        The topics must be there. Nobody who reads committed sees them before `commit`.
        """
        ...

    async def commit(self) -> None:
        """End the transaction: everything written in it is there. Nothing happens where none is open."""
        ...

    async def abort(self) -> None:
        """End the transaction: nothing written in it was ever there. Nothing happens where none is open."""
        ...

    async def stop(self, deadline: float) -> None:
        """Abort what is open, if there is time until `deadline`, and close every connection.

        Never raises. What stays open the cluster aborts itself, after the transaction's timeout.
        """
        ...
