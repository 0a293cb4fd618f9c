"""Makes each answer of `/api`. All only look, and come within two seconds."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel
from starlette.requests import Request

from convex_messaging_fastapi.console.api import models
from convex_messaging_fastapi.console.api.parameters import ID, JOB, LETTERS, TAIL, WANTED, Parameter
from convex_messaging_fastapi.console.course import STEP_SECONDS, counts_of
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.forms import number
from convex_messaging_fastapi.console.looking import (
    SHOWN_BYTES,
    document_for,
    job_of,
    row_of,
    rows_of,
    shown_header,
    tail_of,
    text_of,
    topics_of,
    wanted_by,
)
from convex_messaging_fastapi.console.wording import REASONS
from convex_messaging_fastapi.operations import Letter
from convex_messaging_fastapi.verdicts import ready

API_SECONDS = 1.8
"""What is left of the two seconds is for the answer itself."""


class Answer(NamedTuple):
    """One path of `/api`: what it is, what it takes, and how its answer is made."""

    path: str
    summary: str
    model: type[BaseModel]
    make: Callable[[Desk, Request], Awaitable[BaseModel]]
    takes: tuple[Parameter, ...] = ()


async def health(desk: Desk, request: Request) -> models.Health:
    status = desk.bus.status()
    verdict = ready(status)
    handlers = [each for worker in status.workers for each in worker.subscriptions]
    reasons = [
        models.Reason(word=word, means=REASONS[word].means, do=REASONS[word].do) for word in verdict.reasons
    ]
    return models.Health(
        instance=desk.course.instance,
        since=desk.course.since,
        phase=status.phase.value,
        ok=verdict.ok,
        status=verdict.status,
        reasons=reasons,
        counts=models.Counts.model_validate(counts_of(status)),
        running=sum(each.running for each in handlers),
        waiting=sum(each.waiting + each.backing_off for each in handlers),
    )


async def course(desk: Desk, request: Request) -> models.Course:
    course = desk.course
    steps = [models.Step.model_validate(step) for step in course.steps]
    return models.Course(instance=course.instance, since=course.since, step_seconds=STEP_SECONDS, steps=steps)


async def subscriptions(desk: Desk, request: Request) -> models.Subscriptions:
    desk.course.lag_wanted()
    groups = [models.Worker.model_validate(worker) for worker in desk.bus.status().workers]
    return models.Subscriptions(instance=desk.course.instance, since=desk.course.since, groups=groups)


async def dead_letters(desk: Desk, request: Request) -> models.Letters:
    wanted = wanted_by(desk, request)
    limit = number_in(desk, request, "limit", 100)
    after = request.query_params.get("after") or None
    page = await desk.asked(
        desk.operations.dead_letters(wanted, limit=limit, after=after), API_SECONDS, is_shared=True
    )
    return models.Letters.model_validate(page)


async def dead_letter(desk: Desk, request: Request) -> models.WholeLetter:
    found = await desk.asked(
        desk.operations.dead_letter(request.path_params["id"]), API_SECONDS, is_shared=True
    )
    told = models.Letter.model_validate(found).model_dump()
    headers = [models.Header(**shown_header(*header)._asdict()) for header in found.headers]
    key = None if found.key is None else text_of(found.key[:1024])
    return models.WholeLetter(**told, **_value(found), key=key, headers=headers, stack=found.stack)


async def validation(desk: Desk, request: Request) -> models.Validation:
    found = await desk.asked(desk.operations.validate(wanted_by(desk, request)), API_SECONDS)
    return models.Validation.model_validate(found)


async def jobs(desk: Desk, request: Request) -> models.Jobs:
    found = await desk.asked(desk.operations.jobs(), API_SECONDS)
    return models.Jobs(jobs=[models.Job.model_validate(each) for each in found])


async def job(desk: Desk, request: Request) -> models.Job:
    return models.Job.model_validate(await job_of(desk, request.path_params["id"], API_SECONDS))


async def tail(desk: Desk, request: Request) -> models.Tail:
    topic, after = request.query_params.get("topic", ""), request.query_params.get("after") or None
    limit = number_in(desk, request, "limit", 50)
    found = await tail_of(desk, topic, after, limit, API_SECONDS)
    messages = [
        models.Message(
            partition=each.partition, offset=each.offset, at=row.at, key=row.key, value=row.value,
            size=row.size, is_cut=row.cut,
        )
        for each, row in ((each, row_of(each)) for each in found.records)
    ]  # fmt: skip
    return models.Tail(topic=topic, messages=messages, next=found.next, passed=found.passed)


async def outboxes(desk: Desk, request: Request) -> models.Outboxes:
    found = [models.Outbox.model_validate(each) for each in desk.bus.status().outboxes]
    return models.Outboxes(instance=desk.course.instance, since=desk.course.since, outboxes=found)


async def topics(desk: Desk, request: Request) -> models.Topics:
    return models.Topics(topics=topics_of(desk))


async def settings(desk: Desk, request: Request) -> models.Settings:
    rows = [models.Setting(**row._asdict()) for row in await rows_of(desk)]
    return models.Settings(instance=desk.course.instance, settings=rows)


async def asyncapi(desk: Desk, request: Request) -> models.AsyncAPI:
    return models.AsyncAPI(**await document_for(desk, request))


def number_in(desk: Desk, request: Request, name: str, default: int) -> int:
    """Raises `Refused` for what is no number."""
    said = request.query_params.get(name, "")
    with desk.refusing():
        return number(said, name) if said else default


def _value(letter: Letter) -> Mapping[str, Any]:
    value = letter.value
    if value is None:
        return {"value": None, "value_base64": None, "value_bytes": None, "value_is_cut": False}
    first = value[:SHOWN_BYTES]
    told = {"value_bytes": len(value), "value_is_cut": len(value) > SHOWN_BYTES}
    try:
        return told | {"value": first.decode(), "value_base64": None}
    except UnicodeDecodeError:
        return told | {"value": None, "value_base64": base64.b64encode(first).decode()}


ANSWERS: tuple[Answer, ...] = (
    Answer("/api/health", "How the bus of this process is", models.Health, health),
    Answer("/api/course", "What it did in the last five minutes", models.Course, course),
    Answer("/api/subscriptions", "Its handlers and partitions", models.Subscriptions, subscriptions),
    Answer("/api/dead-letters", "Dead letters, newest first", models.Letters, dead_letters, LETTERS),
    Answer("/api/dead-letters/{id:path}", "One, whole", models.WholeLetter, dead_letter, ID),
    Answer("/api/validation", "What today's types would say", models.Validation, validation, WANTED),
    Answer("/api/jobs", "Replays and discards of all processes", models.Jobs, jobs),
    Answer("/api/jobs/{id}", "One of them", models.Job, job, JOB),
    Answer("/api/outboxes", "What waits in its outboxes", models.Outboxes, outboxes),
    Answer("/api/topics", "Topics that can be tailed", models.Topics, topics),
    Answer("/api/tail", "The newest messages of a topic", models.Tail, tail, TAIL),
    Answer("/api/settings", "The settings that count", models.Settings, settings),
    Answer("/api/asyncapi", "What is received and published", models.AsyncAPI, asyncapi),
)
