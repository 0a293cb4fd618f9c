"""Which topics cannot be written to now, and when each is tried again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0

_JITTER = 0.2


def wait_after(tries: int, random: Callable[[], float]) -> float:
    """Seconds until the next try, after so many that failed."""
    seconds = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(tries - 1, 30))
    return seconds * (1 - _JITTER * random())


@dataclass(slots=True)
class Trouble:
    """Why a topic is held, in which lanes rows of it may be set aside, and when it is tried next."""

    error: str
    lanes: set[int]
    tries: int
    next_try: float
    is_tried: bool = False


class Holding:
    """The topics that are held in the lanes of this process: none of their rows is sent."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._topics: dict[str, Trouble] = {}

    @property
    def topics(self) -> Mapping[str, str]:
        """Each topic with what went wrong."""
        return {topic: trouble.error for topic, trouble in self._topics.items()}

    def __contains__(self, topic: str) -> bool:
        return topic in self._topics

    def hold(self, topic: str, error: str, now: float) -> bool:
        """It cannot be written to; whether that is news."""
        if topic in self._topics:
            return False
        self._topics[topic] = Trouble(error, set(), 1, now + wait_after(1, self._random))
        return True

    def take_over(self, topic: str, lane: int, now: float) -> None:
        """Another relay has set rows of it aside; they are tried at once."""
        trouble = self._topics.setdefault(topic, Trouble("held by another relay", set(), 1, now))
        trouble.lanes.add(lane)

    def set_aside(self, topic: str, lanes: Iterable[int]) -> None:
        """Rows of it have been set aside in these lanes."""
        self._topics[topic].lanes.update(lanes)

    def error(self, topic: str) -> str:
        return self._topics[topic].error

    def lanes(self, topic: str) -> Collection[int]:
        """Where rows of it have been set aside."""
        return frozenset(self._topics[topic].lanes)

    def lose(self, lanes: Iterable[int]) -> None:
        """These lanes are no longer ours, and what is set aside there is another relay's."""
        gone = set(lanes)
        for trouble in self._topics.values():
            trouble.lanes -= gone

    def due(self, now: float) -> list[str]:
        """The topics that should be tried now; each is being tried from now on."""
        found = [t for t, trouble in self._topics.items() if trouble.next_try <= now and not trouble.is_tried]
        for topic in found:
            self._topics[topic].is_tried = True
        return found

    def failed(self, topic: str, error: str, now: float) -> None:
        """It was tried in vain."""
        trouble = self._topics[topic]
        trouble.error, trouble.is_tried = error, False
        trouble.tries += 1
        trouble.next_try = now + wait_after(trouble.tries, self._random)

    def not_tried(self, topic: str, now: float) -> None:
        """It could not be tried, for a reason that is not the topic's."""
        trouble = self._topics[topic]
        trouble.is_tried, trouble.next_try = False, now + FIRST_WAIT_SECONDS

    def open(self, topic: str) -> None:
        """It can be written to again, and none of its rows is set aside in lanes of ours."""
        self._topics.pop(topic, None)

    def next_try(self) -> float | None:
        """When the next topic should be tried."""
        times = [trouble.next_try for trouble in self._topics.values() if not trouble.is_tried]
        return min(times, default=None)
