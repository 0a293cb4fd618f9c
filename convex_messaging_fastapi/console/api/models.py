"""What the answers of `/api` hold. Times are in UTC, durations in seconds, offsets are next offsets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from convex_messaging_fastapi.console.inert import carried
from convex_messaging_fastapi.operations import JobStatus, LetterKind, LetterState, Verdict

Text = Annotated[str, BeforeValidator(lambda value: carried(value) if isinstance(value, str) else value)]
"""May be of any length and hold any character; halves of characters, which JSON cannot carry, are escaped."""


class Shown(BaseModel):
    """Made of the frozen values that operations and the status answer."""

    model_config: ClassVar[ConfigDict] = ConfigDict(from_attributes=True)


class Problem(BaseModel):
    """Why there is no answer."""

    error: str
    help: str
    reason: str | None = Field(None, description="with 503: a word of the closed list of the probes")


class Reason(BaseModel):
    word: str
    means: str
    do: str


class Counts(Shown):
    """Since the bus of this process started."""

    handled: int
    failed: int
    buried: int
    published: int


class Health(BaseModel):
    """How the bus of this process is."""

    instance: str = Field(description="host and process id: whose numbers these are")
    since: datetime | None = Field(description="when its bus started; nothing is counted from before")
    phase: str
    ok: bool
    status: str
    reasons: list[Reason]
    counts: Counts
    running: int
    waiting: int


class Step(Shown):
    at: datetime
    counted: Counts


class Course(BaseModel):
    """What was counted in each step, the oldest first."""

    instance: str
    since: datetime | None
    step_seconds: float
    steps: list[Step]


class Pause(Shown):
    by: Text
    at: datetime
    reason: Text | None
    scope: str


class Breaker(Shown):
    is_open: bool
    open_seconds: float
    openings: int


class Speed(Shown):
    """Of the last minute."""

    rate: float
    p50_seconds: float | None
    p95_seconds: float | None


class Partition(Shown):
    topic: Text
    partition: int
    committed: int
    position: int
    end: int | None
    lag: int | None
    backlog: int | None
    time_lag_seconds: float | None
    unfinished: int
    oldest_age_seconds: float
    held: str | None


class Subscription(Shown):
    id: Text
    topics: list[Text]
    group: Text
    concurrency: int
    running: int
    waiting: int
    backing_off: int
    handled: int
    failed_attempts: int
    buried: int
    discarded: int
    filtered: int
    already_handled: int
    breaker: Breaker | None
    paused: Pause | None
    speed: Speed | None


class Worker(Shown):
    """One group in this process."""

    group: Text
    topics: list[Text]
    alive: bool
    rebalancing: bool
    buffered_records: int
    buffered_bytes: int
    records_lost: int
    unhandled: int
    replayed: int
    subscriptions: list[Subscription]
    partitions: list[Partition]


class Subscriptions(BaseModel):
    instance: str
    since: datetime | None
    groups: list[Worker]


class Origin(Shown):
    topic: Text
    partition: int | None
    offset: int | None
    timestamp: datetime | None
    last_offset: int | None


class Change(Shown):
    state: str
    at: datetime
    by: Text
    reason: Text | None
    job: Text | None


class Letter(Shown):
    """One dead letter, without what was in it."""

    id: Text
    kind: LetterKind
    group_id: str
    origin: Origin
    group: Text
    handler: Text
    error: Text
    exception_type: Text | None
    frame: Text | None
    attempts: int | None
    replay_count: int
    failed_at: datetime
    message_id: Text | None
    size: int
    omitted: list[str]
    state: LetterState
    history: list[Change]
    written: int
    replay_of: Text | None
    failed_as: Text | None
    expires_at: datetime | None


class Header(BaseModel):
    """One whose name says that it is a secret is hidden."""

    name: Text
    value: Text | None


class WholeLetter(Letter):
    """With what was in it: `value` as text, or in base64 where it is no text; the first 64 KiB of it."""

    key: Text | None
    value: Text | None
    value_base64: str | None
    value_bytes: int | None
    value_is_cut: bool
    headers: list[Header]
    stack: Text | None


class Group(Shown):
    """Letters that failed alike."""

    id: str
    topic: Text
    group: Text
    handler: Text
    exception_type: Text | None
    frame: Text | None
    counts: dict[str, int]
    failed_again: int
    total: int
    first: datetime
    last: datetime
    error: Text
    sample: Text
    expires_at: datetime | None


class Letters(Shown):
    groups: list[Group]
    letters: list[Letter]
    matched: int
    scanned: int
    next: str | None
    truncated: str
    states_known: bool
    states_problem: Text


class Alike(Shown):
    verdict: Verdict
    group: Text
    handler: Text
    reason: Text
    count: int
    samples: list[Text]


class Validation(Shown):
    """What today's types would say; no handler was called."""

    results: list[Alike]
    checked: int
    accepted: int
    truncated: str


class Job(Shown):
    id: Text
    kind: Literal["replay", "discard", "reopen"]
    status: JobStatus
    by: Text
    host: Text
    started_at: datetime
    at: datetime
    target: Text
    topics: list[Text]
    groups: list[Text]
    rate: float | None
    selected: int
    done: int
    refused: dict[Text, int]
    failed_again: int
    error: Text


class Jobs(BaseModel):
    jobs: list[Job]


class Held(BaseModel):
    """A topic that cannot be written to."""

    topic: Text
    why: Text


class Outbox(Shown):
    """As this process saw it `looked_seconds` ago. `pending` is counted up to 10,001."""

    name: Text
    relay: bool
    relays: int | None
    lanes: int
    pending: int | None
    oldest_seconds: float | None
    max_age_seconds: float
    parked: int | None
    held: list[Held]
    published: int
    repeats_possible: int
    database: str | None
    refused: Text | None
    looked_seconds: float | None

    @field_validator("held", mode="before")
    @classmethod
    def _named(cls, held: Any) -> Any:
        return [{"topic": topic, "why": why} for topic, why in held]


class Outboxes(BaseModel):
    instance: str
    since: datetime | None
    outboxes: list[Outbox]


class Message(BaseModel):
    """One message of a topic; key and value are cut to 1,024 characters."""

    partition: int
    offset: int
    at: str
    key: Text | None
    value: Text | None
    size: int
    is_cut: bool


class Tail(BaseModel):
    """Messages, the oldest first; `next` is what `after` takes to go on behind them."""

    topic: Text
    messages: list[Message]
    next: str
    passed: int = Field(description="how many were passed over, since more had come than are shown")


class Topics(BaseModel):
    topics: list[Text]


class Setting(BaseModel):
    name: str
    value: Text
    source: Text


class Settings(BaseModel):
    instance: str
    settings: list[Setting]


class AsyncAPI(BaseModel):
    """The AsyncAPI document, whose own schema says what is in it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    asyncapi: str
    info: dict[str, Any]
