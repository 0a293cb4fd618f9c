"""Collects the evidence of a trial, and puts it into figures."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, Any

from tests.faults import checks
from tests.faults.crew import CANARY
from tests.faults.evidence import ILLEGIBLE, Allowed, Buried, Evidence, Logged
from tests.support.ledgers import Place
from tests.support.probing import LIVE, READY
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.faults.trial import Trial

DEAD_LETTERS = "dlq"


def wait_drained(trial: Trial, within: float) -> None:
    """Return once every record is handled or buried; what is missing after too long, the checks tell."""
    written = {(record.place, record.id) for record in read_log(trial)}

    def is_drained() -> bool:
        done = {(note.place, note.id) for note in trial.crew.ledger.notes() if note.event == "ok"}
        left = {place for place, _ in written - done}
        return not left or not left - {letter.place for letter in read_letters(trial)}

    try:
        until(is_drained, within, "every record to be handled")
    except TimeoutError:
        return  # the check named `unhandled` tells of each


def gather(trial: Trial) -> Evidence:
    crew = trial.crew
    evidence = Evidence(
        produced=list(trial.load.produced) if trial.load is not None else [],
        log=[*trial.removed, *read_log(trial)],
        buried=read_letters(trial),
        notes=list(crew.ledger.notes()),
        seen=list(trial.seen),
        removed=[record.place for record in trial.removed],
        lost=trial.lost,
        windows=trial.windows,
        killed=dict(crew.killed),
        answers={name: [*p.answers(LIVE), *p.answers(READY)] for name, p in trial.probers.items()},
        usage=trial.sampler.usage,
        logs={name: worker.log.read_text(errors="replace") for name, worker in trial.workers.items()},
        ended=trial.ended,
        secrets=(CANARY,),
    )
    return evidence if trial.anew_at is None else evidence.of_the_log_since(trial.anew_at)


def read_log(trial: Trial) -> list[Logged]:
    return [record for topic in trial.topics for record in read_topic(trial, topic)]


def read_topic(trial: Trial, topic: str) -> list[Logged]:
    return [
        Logged(
            topic,
            seen.partition,
            seen.offset,
            id_in(seen.value),
            None if seen.key is None else seen.key.decode(),
        )
        for seen in trial.crew.witness.read(topic, with_headers=False)
    ]


def id_in(value: bytes | None) -> int:
    """Of a message of a load, or `ILLEGIBLE`."""
    try:
        message = json.loads(value or b"")
    except (ValueError, RecursionError):
        return ILLEGIBLE
    id = message.get("Id") if isinstance(message, dict) else None
    return id if isinstance(id, int) else ILLEGIBLE


def read_letters(trial: Trial) -> list[Buried]:
    topic = f"{trial.crew.name}.{DEAD_LETTERS}"
    if topic not in trial.crew.cluster.metadata().topics:
        return []
    ahead = time.time() - time.monotonic()
    return [
        _letter(json.loads(seen.value), seen.timestamp_ms / 1000 - ahead)
        for seen in trial.crew.witness.read(topic)
        if seen.value is not None
    ]


def _letter(letter: Mapping[str, Any], at: float) -> Buried:
    place = Place(letter["OriginalTopic"], letter["OriginalPartition"], letter["OriginalOffset"])
    return Buried(*place, at)


def figures(
    trial: Trial, evidence: Evidence, found: Mapping[str, list[str]], allowed: Allowed
) -> dict[str, Any]:
    """What a report tells of one run."""
    again = checks.repeated(evidence)
    outcomes = Counter(sent.outcome for sent in evidence.produced)
    return {
        "scenario": trial.scenario,
        "seed": trial.seed,
        "brokers": trial.crew.cluster.size,
        "workers": len(trial.workers),
        "records": len(evidence.log),
        "acknowledged": outcomes["ok"],
        "unknown": outcomes["unknown"],
        "refused": outcomes["failed"],
        "letters": len(evidence.buried),
        "lost": len(checks.unhandled(evidence, allowed)) + len(checks.lost_write(evidence, allowed)),
        "repeats": max(again.values(), default=0),
        "repeated": sum(again.values()),
        "bound": allowed.repeats,
        "violations": {name: len(sentences) for name, sentences in found.items()},
        "faults": [window.fault for window in evidence.windows],
        "recovery": [round(seconds, 2) for _, seconds in checks.recovered(evidence)],
        "stall": round(checks.longest_stall(evidence), 2),
        "drained": round(checks.drained(evidence) or 0.0, 2),
        "said": {"live": said(evidence, LIVE), "ready": said(evidence, READY)},
        "stops": [round(end.seconds, 2) for end in evidence.ended],
        "held": held(evidence),
        "versions": versions(trial),
    }


def said(evidence: Evidence, path: str) -> dict[str, int]:
    """How often a probe answered what while something was wrong; `None` is no answer."""
    answers = (answer for answers in evidence.answers.values() for answer in answers if answer.path == path)
    return Counter(
        str(answer.status)
        for answer in answers
        if any(window.began <= answer.at < window.healed for window in evidence.windows)
    )


def held(evidence: Evidence) -> list[dict[str, Any]]:
    """What a process that lived through all of it held when young, and in the end."""
    ended = {end.member for end in evidence.ended}
    since = min((usage.at for usage in evidence.usage), default=0.0) + 5
    return [
        {"member": first.member.split(":")[0], "first": first[2:], "last": last[2:]}
        for first, last in checks.first_and_last(evidence)
        if first.member in ended and first.at < since
    ]


def versions(trial: Trial) -> dict[str, str]:
    names = ("aiokafka", "fastapi", "pydantic", "uvicorn")
    return {
        "kafka": trial.crew.cluster.origin,
        "python": python_version(),
        **{name: version(name) for name in names},
    }


def sentence(figures: Mapping[str, Any]) -> str:
    worst = max(figures["recovery"], default=0.0)
    return (
        f"seed {figures['seed']}, {figures['workers']} workers, {figures['records']} records "
        f"({figures['acknowledged']} acknowledged, {figures['unknown']} unknown, "
        f"{figures['refused']} refused), "
        f"{figures['lost']} lost, at most {figures['repeats']} repeats of {figures['bound']}, "
        f"recovery {worst:.1f} s, stops {max(figures['stops'], default=0.0):.1f} s, "
        f"violations {figures['violations'] or 'none'}, {figures['seconds']} s"
    )
