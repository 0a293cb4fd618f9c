"""Every keyword that declares a handler: what it is for, and the error for an unknown one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, wraps
from textwrap import fill
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

from typing_extensions import Doc

from convex_messaging_fastapi import policies
from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.policies import SubscriberOptions

Verb = TypeVar("Verb", bound=Callable[..., Any])

Group = Annotated[
    str | None,
    Doc(
        "The Kafka consumer group, exactly as given. Handlers of one group share its messages among all "
        "processes; a group of its own gets its own copy, and a consumer of its own. `None`: the setting "
        "`consumer_group`; of a receiver, the queue's group."
    ),
]
Id = Annotated[
    str | None,
    Doc(
        "What status, log and dead letters call this handler, and what `unsubscribe` takes. `None`: its "
        "module and name."
    ),
]
Concurrency = Annotated[
    int | None,
    Doc("How many messages this handler may have at work at once. `None`: the setting `concurrency`."),
]
Ordering = Annotated[
    policies.Ordering,
    Doc(
        "Which messages wait for each other: those of one `key`, of one `partition`, or `none`. Messages "
        "without a key keep the order of their partition; those of a receiver keep none."
    ),
]
Retry = Annotated[
    policies.Retry | None,
    Doc(
        "How often and how fast a failed message is tried again, in place: `Retry(attempts=5)`. `None`: the "
        "settings `max_retry_attempts` and `retry_delay_seconds`."
    ),
]
DeadLetter = Annotated[
    policies.DeadLetterPolicy,
    Doc(
        "What becomes of a message whose attempts are spent. `bury`: it goes to the dead-letter topic. "
        "`hold`: its partition waits. `discard`: it is counted and left."
    ),
]
Timeout = Annotated[
    float | None,
    Doc(
        "Seconds that one attempt may take; longer is a failed attempt. `None`: no limit. A `def` handler "
        "cannot be interrupted: its key waits for it to end, and only then has the attempt failed."
    ),
]
Batch = Annotated[
    policies.Batch | None,
    Doc(
        "Hand over several messages of one partition at once, as a list: `Batch(max_records=100, "
        'max_wait_seconds=1.0)`. It implies `ordering="partition"`.'
    ),
]
Filter = Annotated[
    policies.Filter | None,
    Doc(
        "Which messages are for this handler: a plain function of the `Delivery` that answers `True` or "
        "`False`, such as `of_type(Model)`. It is asked once a message, before decoding, and must be quick, "
        "for it runs on the event loop. The others are passed over: finished, and counted as `filtered`. "
        "If it raises, that is a failed attempt. It is not asked about a message that is replayed to the "
        "handler: that failed there, so it was wanted."
    ),
]
Breaker = Annotated[
    policies.Breaker | Literal[False] | None,
    Doc(
        "What an outage of something that the handler needs does to its messages: with `Breaker(share=0.9, "
        "of=20, wait_seconds=30)` none is given up while nothing succeeds, and one at a time is tried until "
        "one does. `None`: the settings `breaker` and `breaker_...`. `False`: none, whatever they say."
    ),
]

_KINDS = {
    "group": Group,
    "id": Id,
    "concurrency": Concurrency,
    "ordering": Ordering,
    "retry": Retry,
    "dead_letter": DeadLetter,
    "timeout": Timeout,
    "batch": Batch,
    "filter": Filter,
    "breaker": Breaker,
}

_RETRY = "say retry=Retry(attempts=5, delay_seconds=1.0)"
_BATCH = "say batch=Batch(max_records=100, max_wait_seconds=1.0)"
_OFFSETS = (
    "a message is done, and its offset committed, once its handler returns; a handler says otherwise by "
    "raising Reject, Discard or RetryAfter"
)
_TYPED = "annotate the handler's message with its type; annotated with `bytes` it is the raw value"
_TOPICS = "topics come first and without a name, as in subscriber('user.created', 'user.changed')"

_HABITS = {
    "dependencies": (
        "give the handler a parameter for each, as a route has it: name: Annotated[Type, Depends(function)]"
    ),
    "middlewares": "wrap the handler in a decorator of your own that uses functools.wraps",
    "auto_offset_reset": "it is a setting of the bus, KAFKA_AUTO_OFFSET_RESET",
    "dead_letter_topic": "there is one for all, {prefix}.dlq; dead_letter='bury' sends there",
    "queue": "a queue has a receiver: receiver('payments'), or await bus.receive('payments', handler)",
    **dict.fromkeys(("topic", "topics"), _TOPICS),
    **dict.fromkeys(("group_id", "consumer_group"), "say group='...'"),
    **dict.fromkeys(("max_workers", "workers", "max_concurrency", "parallelism"), "say concurrency=8"),
    **dict.fromkeys(("retries", "max_retries", "attempts", "max_attempts", "max_retry_attempts"), _RETRY),
    **dict.fromkeys(("retry_policy", "retry_delay", "retry_delay_seconds", "backoff"), _RETRY),
    **dict.fromkeys(("only", "never", "retry_on"), "say retry=Retry(only=(...,), never=(...,))"),
    **dict.fromkeys(("max_records", "batch_size", "max_wait_seconds", "batch_timeout_ms"), _BATCH),
    **dict.fromkeys(("ack_policy", "no_ack", "ack_first", "auto_ack", "auto_commit"), _OFFSETS),
    **dict.fromkeys(("enable_auto_commit", "auto_commit_interval_ms"), _OFFSETS),
    **dict.fromkeys(("decoder", "parser", "model", "schema", "value_deserializer"), _TYPED),
    **dict.fromkeys(("circuit_breaker", "circuit"), "say breaker=Breaker(wait_seconds=30)"),
    **dict.fromkeys(("type", "types", "message_type", "of_type"), "say filter=of_type(Model)"),
}
"""What other libraries, and other places of this one, call it; and how it is said here."""


def telling(verb: Verb) -> Verb:
    """The same method; a mistake in its keywords is a `DeclarationError` that names the method.

    Its docstring goes on with what each keyword is for.
    """
    signature = inspect.signature(verb)

    @wraps(verb)
    def called(self: object, *args: Any, **given: Any) -> Any:
        try:
            _check_call(signature, (self, *args), given)
            return verb(self, *args, **given)
        except DeclarationError as error:
            name = f"{type(self).__name__}.{verb.__name__}"
            raise DeclarationError(f"{name}(): {error}") from error.__cause__

    if inspect.iscoroutinefunction(verb) and hasattr(inspect, "markcoroutinefunction"):
        called = inspect.markcoroutinefunction(called)
    called.__doc__ = f"{inspect.cleandoc(verb.__doc__ or '')}\n\nKeywords:\n{_documented()}"
    return cast("Verb", called)


def _check_call(signature: inspect.Signature, args: Sequence[Any], given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in signature.parameters or name == "topics":
            raise DeclarationError(f"there is no keyword {name!r}: {_advice(name, signature)}")
    try:
        signature.bind(*args, **given)
    except TypeError as error:
        raise DeclarationError(f"{error}: {_USES}") from None
    SubscriberOptions(**{name: value for name, value in given.items() if name in _KINDS})


_USES = (
    "write @bus.subscriber('topic') or @bus.receiver('queue') above a handler, or, while the bus runs, "
    "await bus.subscribe('topic', handler) or await bus.receive('queue', handler); the rest is given by name"
)


def _advice(wrong: str, signature: inspect.Signature) -> str:
    if wrong in _HABITS:
        return _HABITS[wrong]
    right = [name for name in signature.parameters if name not in ("self", "topics")]
    near = get_close_matches(wrong.lower(), right, n=1) or [
        name for name in right if sorted(name) == sorted(wrong.lower())
    ]
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(right)}"


@cache
def _documented() -> str:
    told = (f"{name}: {get_args(kind)[1].documentation}" for name, kind in _KINDS.items())
    return "\n".join(fill(text, 100, initial_indent=" " * 4, subsequent_indent=" " * 8) for text in told)
