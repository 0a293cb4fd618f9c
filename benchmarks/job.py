"""One measurement of one contestant in a process of its own: what it is told, and what it answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["sequential", "concurrent", "many", "consume", "latency", "waiting"]

Sample = dict[str, float]
"""What one measurement came to; see `measuring` for the names."""

FAILED = "failed: "
"""What a line begins with that says why there is no sample."""


@dataclass(frozen=True, slots=True)
class Job:
    """`seconds` are measured after `warm_up` seconds; where `count` messages are handled, after a fifth.

    `concurrency` is publishers side by side, or handlers; `chunk` is messages given at once, made anew
    for each time where they are `fresh`; `keys` is how many different keys there are (0: none);
    `headers` are five, made for each message or once for all, or none (ours always writes its five);
    `work` is seconds that a handler awaits; `rate` is messages a second.
    """

    kind: Kind
    contestant: str = ""
    bootstrap: str = ""
    topic: str = ""
    headers: Literal["new", "fixed", "none"] = "new"
    keys: int = 0
    size: int = 0
    count: int = 0
    concurrency: int = 32
    chunk: int = 10_000
    fresh: bool = False
    work: float = 0.0
    rate: int = 0
    warm_up: float = 1.0
    seconds: float = 2.0
    loop: Literal["asyncio", "uvloop"] = "asyncio"

    def as_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Job:
        told: dict[str, Any] = json.loads(text)
        return cls(**told)
