"""Which rows of a scan a filter means."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.messages import topic_on_wire
from convex_messaging_fastapi.operations.filtering import Filter
from convex_messaging_fastapi.operations.found import FoundGroup
from convex_messaging_fastapi.operations.resolving import TURN_ROWS
from convex_messaging_fastapi.operations.rows import CODES, DUPLICATE
from convex_messaging_fastapi.operations.scanning import Scan

_OF_GROUPS: Mapping[str, Any] = dict.fromkeys(("group_id", "topic", "group", "handler", "exception"))

SOON_MS = 24 * 3600 * 1000
"""A letter expires soon whose topic may remove it within a day."""


class Selector:
    """Applies one filter to the rows of one scan.

    `retention_ms` says for how long each topic keeps a letter at least; one that keeps them for ever, or
    does not say, is left out. `now_ms` is Unix milliseconds.
    """

    def __init__(
        self,
        wanted: Filter,
        scan: Scan,
        own_topic: str,
        prefix: str,
        retention_ms: Mapping[str, int],
        now_ms: float,
    ) -> None:
        self._filter = wanted
        self._scan = scan
        self._retention_ms = retention_ms
        self._now_ms = now_ms
        self._groups = {
            number for number, group in enumerate(scan.groups) if _is_wanted(group, wanted, prefix)
        }
        self._ids = _places(wanted.ids, own_topic)
        self._states = _codes(wanted, states_known=not scan.states.problem)
        self._since_ms = None if wanted.since is None else wanted.since.timestamp() * 1000
        self._until_ms = None if wanted.until is None else wanted.until.timestamp() * 1000
        # Most lists are of groups alone, and each of their letters passes here.
        self._is_of_groups = replace(wanted, **_OF_GROUPS) == Filter(state=wanted.state)

    def passes_but_for_state(self, row: int) -> bool:
        """Whether the letter is meant, whatever state it is in. One that another stands for never is."""
        rows = self._scan.rows
        if rows.state[row] == DUPLICATE or not rows.matches[row] or rows.group[row] not in self._groups:
            return False
        if self._is_of_groups:
            return True
        if rows.replays[row] < self._filter.min_replays:
            return False
        failed_at_ms = rows.failed_at_ms[row]
        if self._since_ms is not None and failed_at_ms < self._since_ms:
            return False
        if self._until_ms is not None and failed_at_ms >= self._until_ms:
            return False
        return not self._filter.ids or (*rows.where(row), rows.offset[row]) in self._ids

    def passes_state(self, row: int) -> bool:
        if self._scan.rows.state[row] not in self._states:
            return False
        return (
            self._filter.state != "expires_soon" or self._scan.states.problem != "" or self._expires_soon(row)
        )

    def expires_at_ms(self, row: int) -> int | None:
        """When the retention of its topic may remove it, `None` where that is never, or not known."""
        rows = self._scan.rows
        retention_ms = self._retention_ms.get(rows.where(row).topic)
        return None if retention_ms is None else rows.timestamp_ms[row] + retention_ms

    def _expires_soon(self, row: int) -> bool:
        expires_at_ms = self.expires_at_ms(row)
        return expires_at_ms is not None and expires_at_ms < self._now_ms + SOON_MS


async def selected(selector: Selector, scan: Scan) -> array[int]:
    """The rows of all letters that are meant, in the order in which they were read."""
    found = array("I")
    for row in range(len(scan.rows)):
        if row % TURN_ROWS == 0:
            await asyncio.sleep(0)
        if selector.passes_but_for_state(row) and selector.passes_state(row):
            found.append(row)
    return found


def place_of_id(id: str, own_topic: str) -> tuple[str, int, int]:
    """Topic, partition and offset of a letter's id."""
    *topic, partition, offset = id.split("/")
    return (topic[0] if topic else own_topic), int(partition), int(offset)


def _places(ids: Collection[str], own_topic: str) -> frozenset[tuple[str, int, int]]:
    return frozenset(place_of_id(id, own_topic) for id in ids)


def _codes(wanted: Filter, *, states_known: bool) -> frozenset[int]:
    if wanted.state == "all" or not states_known:
        return frozenset(CODES.values())
    return frozenset({CODES["open" if wanted.state == "expires_soon" else wanted.state]})


def _is_wanted(group: FoundGroup, wanted: Filter, prefix: str) -> bool:
    key = group.key
    return (
        wanted.group_id in (None, group.id)
        and wanted.group in (None, key.group)
        and wanted.handler in (None, key.handler)
        and (wanted.topic is None or key.topic in _spellings(wanted.topic, prefix))
        and (wanted.exception is None or _is_type(key.exception_type, wanted.exception))
    )


def _spellings(topic: str, prefix: str) -> tuple[str, ...]:
    """The topic as it is given, and with the prefix."""
    try:
        return topic, topic_on_wire(prefix, topic)
    except ConfigurationError:
        return (topic,)


def _is_type(exception_type: str | None, wanted: str) -> bool:
    return exception_type is not None and (
        exception_type == wanted or exception_type.endswith((f".{wanted}", f"${wanted}"))
    )
