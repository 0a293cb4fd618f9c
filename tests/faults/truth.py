"""Whether what probes answered was true: compared with when a process lived and when it was cut off."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.evidence import Evidence
from tests.support.probing import LIVE, READY, Answer


def not_alive(name: str, answers: list[Answer], evidence: Evidence) -> Iterator[str]:
    """Nothing but death makes live anything but 200; nobody answers while a process is down or frozen."""
    for answer in answers:
        if answer.path == LIVE and answer.status not in {200, None}:
            yield f"live was {answer.status}: {answer.said[:200]}"


def silent(name: str, answers: list[Answer], evidence: Evidence, within: float) -> Iterator[str]:
    """So long after each heal whoever answers goes on to answer."""
    asked = [answer for answer in answers if answer.path == LIVE]
    for healed, until in _quiet_times(name, evidence):
        calm = [answer for answer in asked if healed + within < answer.at < until]
        alive = [answer.at for answer in calm if answer.status == 200]
        for answer in calm:
            if answer.status is None and alive and alive[0] < answer.at < alive[-1]:
                yield f"nobody answered {answer.at - healed:.1f} s after the heal: {answer.said[:200]}"
                break


def down_too_late(
    name: str, answers: list[Answer], evidence: Evidence, within: float | None
) -> Iterator[str]:
    """Every fault turns ready to 503 so soon, where the scenario says that it must."""
    for window in evidence.windows if within is not None else ():
        first = next((a.at for a in answers if _says(a, 503) and a.at >= window.began), None)
        if first is None:
            yield f"ready never said 503 during {window.fault}"
        elif within is not None and first - window.began > within:
            yield f"ready said 503 {first - window.began:.1f} s after {window.fault} began"


def back_too_late(name: str, answers: list[Answer], evidence: Evidence, within: float) -> Iterator[str]:
    """So long after each heal ready is 200 again, until the next fault or the end of the process."""
    for window, until in _quiet_times(name, evidence):
        for answer in answers:
            if _says(answer, 503) and window + within < answer.at < until:
                yield f"ready said 503 {answer.at - window:.1f} s after the heal: {answer.said[:300]}"
                break


def _says(answer: Answer, status: int) -> bool:
    return answer.path == READY and answer.status == status


def _quiet_times(name: str, evidence: Evidence) -> Iterator[tuple[float, float]]:
    """From each heal to whatever disturbs this process next: a fault, or being told to end."""
    told = [note.at for note in evidence.notes if note.event == "stopping" and _is(name, note.member)]
    ended = [at for life, at in evidence.killed.items() if _is(name, life)]
    began = [window.began for window in evidence.windows]
    for window in evidence.windows:
        later = [at for at in (*told, *ended, *began) if at > window.healed]
        yield window.healed, min(later, default=float("inf"))


def _is(name: str, life: str) -> bool:
    return life.startswith(f"{name}:")
