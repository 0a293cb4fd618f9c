"""Whether the handler of one subscription may begin anything: who keeps it from that, and for how long."""

from __future__ import annotations

from collections.abc import Hashable


class Gate:
    """Runners ask `begins` before each message. What has begun goes on."""

    __slots__ = ("_shut_by", "begins", "closed")

    def __init__(self) -> None:
        self._shut_by: dict[Hashable, object] = {}
        self.begins: bool = True  # an attribute, for it is asked once a message
        self.closed: bool = False

    def shut(self, owner: Hashable, why: object = None) -> None:
        """Let nothing begin until this owner opens it. Harmless if it has shut it already."""
        self._shut_by[owner] = why
        self.begins = False

    def open(self, owner: Hashable) -> None:
        """Take back what `shut` said for this owner; others may still keep it shut."""
        self._shut_by.pop(owner, None)
        self.begins = not self._shut_by and not self.closed

    def why(self, owner: Hashable) -> object:
        """What this owner has said; `None` where it does not keep it shut. Any thread may ask."""
        return self._shut_by.get(owner)

    def close(self) -> None:
        """For good."""
        self.closed = True
        self.begins = False
