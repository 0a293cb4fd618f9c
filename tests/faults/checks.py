"""What must be true of a run under faults, whatever went wrong: every check answers with the violations.

The names are those of Jepsen's Kafka checker where it has one (`lost-write`, `unhandled`, `skip`,
`duplicate`, ...). Of its family the check of exactly-once is not here: this package has no
transactions. A violation is a sentence that names the record.
"""

from __future__ import annotations

import re
import signal
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import accumulate, islice, pairwise
from operator import attrgetter, itemgetter
from typing import Any

from tests.faults.evidence import FAILED, ILLEGIBLE, OK, UNKNOWN, Allowed, Evidence, Seen, Usage, Window
from tests.faults.truth import back_too_late, down_too_late, not_alive, silent
from tests.support.ledgers import FOR_EVER, Place, Turn

Check = Callable[[Evidence, Allowed], list[str]]
Where = tuple[str, int]


def lost_write(evidence: Evidence, allowed: Allowed) -> list[str]:
    """What a publisher was told is written is in the log, where it was told."""
    found = defaultdict[tuple[int, int], list[int]](list)
    for record in evidence.log:
        found[record.partition, record.offset].append(record.id)
    return [
        f"message {sent.id} was acknowledged at {sent.partition}:{sent.offset}, where the log has "
        f"{', '.join(map(str, found[sent.partition, sent.offset])) or 'nothing'}"
        for sent in evidence.produced
        if sent.outcome == OK and sent.id not in found[sent.partition, sent.offset]
    ]


def unhandled(evidence: Evidence, allowed: Allowed) -> list[str]:
    """Every record of the log was handled to the end, is in the dead-letter topic, or was told as lost."""
    done = _done_at(evidence).keys() | _told_lost(evidence)
    return [
        f"{_text(r.place)} (message {r.id}) was never handled" for r in evidence.log if r.place not in done
    ]


def loss_truth(evidence: Evidence, allowed: Allowed) -> list[str]:
    """Nothing is told as lost that is there."""
    removed = set(evidence.removed)
    return [f"{_text(place)} was told as lost" for place in sorted(_told_lost(evidence) - removed)]


def phantom(evidence: Evidence, allowed: Allowed) -> list[str]:
    """Nothing was handled that is not in the log; nothing is in the log that was certainly not written."""
    refused = {sent.id for sent in evidence.produced if sent.outcome == FAILED}
    written = {record.place for record in evidence.log}
    handled = {turn.place for turn in evidence.history().turns}
    return [
        *(f"message {r.id} was refused and is at {_text(r.place)}" for r in evidence.log if r.id in refused),
        *(f"{_text(place)} was handled and is not in the log" for place in sorted(handled - written)),
    ]


def duplicate(evidence: Evidence, allowed: Allowed) -> list[str]:
    """No message is in the log twice."""
    times = Counter(record.id for record in evidence.log if record.id != ILLEGIBLE)
    return [f"message {id} is in the log {count} times" for id, count in times.items() if count > 1]


def repeats(evidence: Evidence, allowed: Allowed) -> list[str]:
    """No assignment of a partition handled more records again than the scenario allows."""
    return [
        f"{member} handled {count} records of {topic}[{partition}] again, {allowed.repeats} are allowed"
        for (member, topic, partition, _), count in repeated(evidence).items()
        if count > allowed.repeats
    ]


def skip(evidence: Evidence, allowed: Allowed) -> list[str]:
    """What one assignment fetches rises, misses nothing, and comes once."""
    written, left = _offsets(evidence), _offsets(evidence, without=_told_lost(evidence))
    return [
        sentence
        for (member, _, topic, partition), ranges in _fetched(evidence).items()
        for sentence in (
            *_miscounts(f"{member}: {topic}[{partition}]", ranges, written[topic, partition]),
            *_holes(f"{member}: {topic}[{partition}]", ranges, left[topic, partition]),
        )
    ]


def key_order(evidence: Evidence, allowed: Allowed) -> list[str]:
    """Records of one key are first begun in the order of the log, and written in the order they were sent."""
    handled = [
        f"{_text(later.place)} was begun before {_text(earlier.place)} of the same key {earlier.key}"
        for earlier, later in ((b, a) for a, b in evidence.history().out_of_order())
    ]
    return handled + list(_written_out_of_order(evidence))


def overlap(evidence: Evidence, allowed: Allowed) -> list[str]:
    """No two turns of one key are at the same time, but for those of a process that was frozen."""
    return [
        f"{_turn(one)} still ran when {_turn(other)} began: key {one.key}"
        for one, other in evidence.history().overlaps(but=allowed.zombies)
    ]


def commit_safety(evidence: Evidence, allowed: Allowed) -> list[str]:
    """Whenever an offset was about to be committed, every record below it was done. The strongest check."""
    done = _done_at(evidence) | dict.fromkeys(_told_lost(evidence), 0.0)
    written = _offsets(evidence)
    latest = {
        where: list(accumulate((done.get(Place(*where, o), FOR_EVER) for o in offsets), max))
        for where, offsets in written.items()
    }
    return [
        f"{c.offset} of {c.topic}[{c.partition}] was committed before every record below it was done"
        for c in _commits(evidence, "commit")
        if (below := bisect_left(written[c.topic, c.partition], c.offset))
        and latest[c.topic, c.partition][below - 1] > c.at
    ]


def commit_regress(evidence: Evidence, allowed: Allowed) -> list[str]:
    """What is committed never falls: for those who commit, nor for one who asks between two commits."""
    partitions: dict[Where, list[Seen]] = defaultdict(list)
    for commit in sorted(_noted_commits(evidence, "committed")):
        partitions[commit.topic, commit.partition].append(commit)
    pairs = [
        *(pair for commits in partitions.values() for pair in pairwise(commits)),
        *(
            pair
            for seen in evidence.seen
            for commit in partitions[seen.topic, seen.partition]
            for pair in _one_after_the_other(seen, commit)
        ),
    ]
    return [
        f"what is committed of {one.topic}[{one.partition}] fell from {one.offset} to {other.offset}"
        for one, other in pairs
        if other.offset < one.offset
    ]


def recovery(evidence: Evidence, allowed: Allowed) -> list[str]:
    """After each heal records are handled again in time, and in the end all of them are."""
    late = [
        f"after the heal of {window.fault} nothing was handled for {seconds:.1f} s, "
        f"{allowed.recovery} are allowed"
        for window, seconds in recovered(evidence)
        if seconds > allowed.recovery
    ]
    took = drained(evidence)
    if took is not None and took > allowed.drained:
        late.append(f"the last record was done {took:.1f} s after the last heal and the last send")
    return late


def stall(evidence: Evidence, allowed: Allowed) -> list[str]:
    """Where a scenario says so, somebody handles something all the time, whatever is wrong elsewhere."""
    longest = longest_stall(evidence)
    if allowed.stall is None or longest <= allowed.stall:
        return []
    return [f"nothing was handled for {longest:.1f} s, {allowed.stall} are allowed"]


def health_truth(evidence: Evidence, allowed: Allowed) -> list[str]:
    """Live is 200 while a process lives; ready says what is true, in time."""
    return [
        f"{name}: {sentence}"
        for name, answers in evidence.answers.items()
        for sentence in (
            *not_alive(name, answers, evidence),
            *silent(name, answers, evidence, allowed.back_within),
            *down_too_late(name, answers, evidence, allowed.down_within),
            *back_too_late(name, answers, evidence, allowed.back_within),
        )
    ]


def resources(evidence: Evidence, allowed: Allowed) -> list[str]:
    """A process that lived through it holds no more at the end than at the start."""
    return list(_grown(evidence, allowed))


def shutdown(evidence: Evidence, allowed: Allowed) -> list[str]:
    """A process that is asked to end does so in time and in order, and no other ends by itself."""
    return [
        *(
            f"{end.member} took {end.seconds:.1f} s to end, {allowed.stop_seconds} are allowed"
            for end in evidence.ended
            if end.seconds > allowed.stop_seconds
        ),
        *(f"{end.member} ended with {end.code}" for end in evidence.ended if end.code != -signal.SIGTERM),
    ]


def logs(evidence: Evidence, allowed: Allowed) -> list[str]:
    """No log tells a secret or a payload, and none tells of something that nobody took care of."""
    return [
        f"{name} logged {line[:200]!r}"
        for name, text in evidence.logs.items()
        for line in text.splitlines()
        if NEGLECT.search(line) or any(secret in line for secret in evidence.secrets)
    ]


NEGLECT = re.compile(
    r"never (?:retrieved|awaited)|Unclosed|was destroyed but it is pending|Traceback|ResourceWarning"
)

LOOKS = 5
"""How many looks at a process are the beginning of its life, and its end; there is one a second."""

CHECKS: Mapping[str, Check] = {
    check.__name__.replace("_", "-"): check
    for check in (
        commit_safety,
        unhandled,
        loss_truth,
        lost_write,
        phantom,
        duplicate,
        repeats,
        skip,
        key_order,
        overlap,
        commit_regress,
        recovery,
        stall,
        health_truth,
        resources,
        shutdown,
        logs,
    )
}


def judge(evidence: Evidence, allowed: Allowed) -> dict[str, list[str]]:
    """The violations of every check that found any."""
    found = {name: check(evidence, allowed) for name, check in CHECKS.items()}
    return {name: violations for name, violations in found.items() if violations}


def unseen(evidence: Evidence) -> list[str]:
    """What of a run nobody noted, although it must have happened: checks of that cannot fail."""
    noted = Counter(note.event for note in evidence.notes)
    seen = {
        "sends": evidence.produced,
        "records": evidence.log,
        "answers": any(evidence.answers.values()),
        "measures": evidence.usage,
        "logs": evidence.logs,
        "ends": evidence.ended,
        **{event: noted[event] for event in ("start", "ok", "fetched", "commit", "committed")},
    }
    return [what for what, there in seen.items() if not there]


def recovered(evidence: Evidence) -> list[tuple[Window, float]]:
    """For each fault: seconds from its heal to the first record handled that was fetched after it, too.

    What had been fetched before needs no Kafka. Of processes that note no fetches every record counts.
    """
    fetched = _fetched_at(evidence)
    ends = sorted(
        (turn.end, fetched.get((turn.member, turn.place), turn.end))
        for turn in evidence.history().turns
        if turn.is_ok
    )
    return [
        (window, seconds)
        for window in evidence.windows
        if (seconds := _first_fresh(ends, window.healed)) < FOR_EVER or _had_work(evidence, window.healed)
    ]


def _first_fresh(ends: list[tuple[float, float]], healed: float) -> float:
    """Seconds to the first end of a turn whose record was fetched after the heal."""
    later = islice(ends, bisect_left(ends, (healed, 0.0)), None)
    return next((end - healed for end, fetched in later if fetched >= healed), FOR_EVER)


def _fetched_at(evidence: Evidence) -> dict[tuple[str, Place], float]:
    """When each member last fetched each record."""
    return {
        (note.member, Place(note.topic, note.partition, offset)): note.at
        for note in evidence.notes
        if note.event == "fetched"
        for offset in range(note.offset, note.last + 1)
    }


def repeated(evidence: Evidence) -> Counter[tuple[str, str, int, int]]:
    """How often each member, topic and partition began a finished record again, by the epoch it was in.

    By the epoch, and not by the fault before it: the next one may come while the last is made good for.
    """
    epochs = defaultdict[tuple[str, str, int], list[tuple[float, int]]](list)
    for note in sorted(evidence.notes, key=attrgetter("at")):
        if note.event == "fetched":
            epochs[note.member, note.place.topic, note.place.partition].append((note.at, note.epoch))

    def epoch(turn: Turn) -> int:
        fetched = epochs[turn.member, turn.place.topic, turn.place.partition]
        last = bisect_right(fetched, turn.start, key=itemgetter(0))
        return fetched[last - 1][1] if last else 0

    return Counter(
        (turn.member, turn.place.topic, turn.place.partition, epoch(turn))
        for turn in evidence.history().begun_again()
    )


def longest_stall(evidence: Evidence) -> float:
    """The most seconds that lay between two records being handled to their end, from the first fault on."""
    ends = sorted(turn.end for turn in evidence.history().turns if turn.is_ok)
    since = evidence.windows[0].began if evidence.windows else FOR_EVER
    return max((other - one for one, other in pairwise(ends) if other >= since), default=0.0)


def drained(evidence: Evidence) -> float | None:
    """Seconds from the last heal, or the last send if that was later, to the last record being done."""
    done = _done_at(evidence)
    if not evidence.windows or not done:
        return None
    sent = max((sent.ended for sent in evidence.produced), default=0.0)
    return max(0.0, max(done.values()) - max(sent, evidence.windows[-1].healed))


def _had_work(evidence: Evidence, at: float) -> bool:
    """Whether a message was sent after that, which could be fetched only then."""
    return any(sent.outcome == OK and sent.began >= at for sent in evidence.produced)


def _done_at(evidence: Evidence) -> dict[Place, float]:
    """When each record was first done: handled to the end, or its letter made."""
    done: dict[Place, float] = {}
    for note in evidence.notes:
        if note.event == "ok":
            done[note.place] = min(note.at, done.get(note.place, FOR_EVER))
    for letter in evidence.buried:
        done[letter.place] = min(letter.at, done.get(letter.place, FOR_EVER))
    return done


def _offsets(evidence: Evidence, without: Collection[Place] = ()) -> dict[Where, list[int]]:
    """The offsets that hold a record, in order."""
    offsets: dict[Where, list[int]] = defaultdict(list)
    for place in sorted({record.place for record in evidence.log}.difference(without)):
        offsets[place.topic, place.partition].append(place.offset)
    return offsets


def _told_lost(evidence: Evidence) -> set[Place]:
    """The records of the log that workers say they never saw."""
    return {r.place for lost in evidence.lost for r in evidence.log if lost.covers(r.place)}


def _commits(evidence: Evidence, event: str) -> Iterator[Seen]:
    """What the members noted of their commits, and what the independent reader saw."""
    yield from _noted_commits(evidence, event)
    yield from evidence.seen


def _noted_commits(evidence: Evidence, event: str) -> Iterator[Seen]:
    for note in evidence.notes:
        if note.event == event:
            yield Seen(note.at, note.topic, note.partition, note.offset)


def _one_after_the_other(seen: Seen, commit: Seen) -> Iterator[tuple[Seen, Seen]]:
    """Which came first; nobody knows of a commit that came while somebody asked."""
    if commit.at < min(seen.asked, seen.at):
        yield commit, seen
    elif commit.at > seen.at:
        yield seen, commit


def _fetched(evidence: Evidence) -> dict[tuple[str, int, str, int], list[tuple[int, int, int]]]:
    """By member, epoch and partition: (first offset, last offset, how many) of each fetch, in order."""
    found: dict[tuple[str, int, str, int], list[tuple[int, int, int]]] = defaultdict(list)
    for note in evidence.notes:
        if note.event == "fetched":
            who = note.member, note.epoch, note.topic, note.partition
            found[who].append((note.offset, note.last, note.many))
    return found


def _miscounts(who: str, ranges: list[tuple[int, int, int]], written: list[int]) -> Iterator[str]:
    for first, last, count in ranges:
        there = bisect_left(written, last + 1) - bisect_left(written, first)
        if there != count:
            yield f"{who} fetched {count} records from {first} to {last}, the log has {there}"


def _holes(who: str, ranges: list[tuple[int, int, int]], written: list[int]) -> Iterator[str]:
    for (_, end, _), (start, _, _) in pairwise(ranges):
        if start <= end:
            yield f"{who} fetched {start} again after {end}"
        elif (missed := bisect_left(written, start) - bisect_left(written, end + 1)) > 0:
            yield f"{who} fetched {start} after {end} and missed {missed} records"


def _written_out_of_order(evidence: Evidence) -> Iterator[str]:
    """A publisher sends the messages of a key one after another, with rising ids.

    One that it knows nothing of may arrive at any time, and also when it has given up.
    """
    highest: dict[tuple[str, int, str | None], int] = {}
    unknown = {sent.id for sent in evidence.produced if sent.outcome == UNKNOWN}
    for record in (r for r in sorted(evidence.log) if r.id not in unknown and r.id != ILLEGIBLE):
        where = record.topic, record.partition, record.key
        if record.id < highest.get(where, -1):
            yield f"message {record.id} of key {record.key} is in the log after {highest[where]}"
        highest[where] = max(record.id, highest.get(where, -1))


def _grown(evidence: Evidence, allowed: Allowed) -> Iterator[str]:
    for first, last in first_and_last(evidence):
        for what, by, most in (
            ("MiB", last.rss_mib - first.rss_mib, allowed.rss_mib),
            ("open files", last.files - first.files, allowed.files),
            ("threads", last.threads - first.threads, allowed.threads),
            ("tasks", last.tasks - first.tasks, allowed.tasks),
        ):
            if by > most:
                yield f"{first.member} has {by:.0f} {what} more than at the start, {most:.0f} are allowed"


def first_and_last(evidence: Evidence) -> Iterable[tuple[Usage, Usage]]:
    """Of each life the most that it held when it was young, and the least that it held at last.

    Work comes and goes, also at the moment at which a life is ended: what stays is there at every look.
    """
    lives: dict[str, list[Usage]] = defaultdict(list)
    for usage in evidence.usage:
        lives[usage.member].append(usage)
    return ((_each(max, seen[:LOOKS]), _each(min, seen[-LOOKS:])) for seen in lives.values())


def _each(choose: Callable[[Iterable[Any]], Any], seen: list[Usage]) -> Usage:
    """Of each kind one, as if all had been at one time."""
    held = (choose(held) for held in zip(*(usage[2:] for usage in seen), strict=True))
    return Usage(seen[0].at, seen[0].member, *held)


def _text(place: Place) -> str:
    return f"{place.topic}[{place.partition}]:{place.offset}"


def _turn(turn: Turn) -> str:
    return f"{turn.member} at {_text(turn.place)}"
