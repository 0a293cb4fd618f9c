"""One run of one scenario: a crew at work under load while something goes wrong, then the verdict.

    with trials.run("kill -9 of a broker", crew, workers=2) as trial:
        with trial.fault("kill -9 of the leader"):
            leader.kill()
            trial.handle_more(200)
            crew.cluster.heal()

When the block ends, the load ends, all records are waited for, the workers are asked to end, the
evidence is gathered and every check is made. The figures go to `build/reliability`, and the
evidence of a run with violations to `build/reliability/failed`.
"""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from tests.faults import checks, gathering
from tests.faults.crew import Crew, Load
from tests.faults.evidence import Allowed, Ended, Evidence, Logged, Lost, Seen, Window, as_json
from tests.faults.sampling import Sampler, sampling
from tests.support.probing import Prober, probing
from tests.support.services import Service
from tests.support.waiting import pass_time, until

RESULTS = Path(__file__).parents[2] / "build" / "reliability"
PACE: Mapping[str, object] = {"KAFKA_CONCURRENCY": 8, "FAULTS_SLOWEST_SECONDS": 0.05}
A_SECOND, KEYS = 200, 40
NAME = "{name}"


class Trial:
    """What a scenario holds: the crew, its workers, chance, and ways to wait for what happens."""

    def __init__(self, scenario: str, crew: Crew, seed: int, ends: ExitStack) -> None:
        self.scenario = scenario
        self.crew = crew
        self.seed = seed
        self.chance = random.Random(seed)
        self.workers: dict[str, Service] = {}
        self.windows: list[Window] = []
        self.ended: list[Ended] = []
        self.seen: list[Seen] = []
        self.zombies: list[str] = []
        """Lives that stood still for longer than their session, or that nothing could end."""
        self.removed: list[Logged] = []
        """What was taken from the log, as it was before."""
        self.lost: list[Lost] = []
        self.anew_at: float | None = None
        """When the topic was made anew: what was before then is not judged."""
        self.probers: dict[str, Prober] = {}
        self.topic = crew.topic("work")
        self.topics = [self.topic]
        """Whatever is handled; what is written to the others is the scenario's own."""
        self.load: Load | None = None
        self._ends = ends
        self.sampler: Sampler = ends.enter_context(sampling(lambda: list(self.workers.values())))

    def hire(self, name: str, **settings: Any) -> Service:
        """One worker more, started; its probes are asked until the end. `NAME` in a setting is its name."""
        own = {variable: str(value).replace(NAME, name) for variable, value in settings.items()}
        worker = self.crew.hire(name, **{**PACE, "FAULTS_SEED": self.seed, **own}).start()
        self.workers[name] = worker
        self.probers[name] = self._ends.enter_context(probing(worker.address))
        return worker

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Something goes wrong; when the block ends, it is healed. Returns once records are handled again."""
        began = time.monotonic()
        yield
        self.windows.append(Window(name, began, time.monotonic()))
        if self.load is not None:
            self.handle_more(1)

    def add_topic(self, name: str) -> str:
        """One more that the workers handle, its name on the wire; `FAULTS_TOPICS` has to name it."""
        self.topics.append(self.crew.topic(name))
        return self.topics[-1]

    def handle_more(self, many: int, within: float = 60) -> None:
        """Wait until so many turns more ended well."""
        self.crew.wait_handled(self.crew.ledger.count("ok") + many, within)

    def send_more(self, many: int, within: float = 60) -> None:
        """Wait until the load was acknowledged so many messages more."""
        load = self.load
        assert load is not None
        target = len(load.acknowledged) + many
        until(lambda: len(load.acknowledged) >= target, within, f"{many} acknowledgements")

    def stop(self, worker: Service) -> None:
        """SIGTERM, and wait for the end; how long that took is judged. One that does not end was killed."""
        member, told = life(worker), time.monotonic()
        try:
            code = worker.terminate()
        except TimeoutExpired:
            code = -signal.SIGKILL
            self.crew.mourn(worker)
        self.ended.append(Ended(member, time.monotonic() - told, code))

    def note_death(self, worker: Service) -> None:
        """Of one that is not at work any more: nobody may have asked it to end."""
        member = life(worker)
        if member not in self.crew.killed and member not in {end.member for end in self.ended}:
            self.crew.mourn(worker)
            self.ended.append(Ended(member, 0.0, worker.wait(1)))

    def look_at_commits(self) -> None:
        """What an independent reader is told that the group has committed; judged like its own notes."""
        asked, found = time.monotonic(), self.crew.committed(self.topic)
        at = time.monotonic()
        self.seen += [Seen(at, *where, offset, asked) for where, offset in found.items()]

    def wait_committed(self, within: float = 20) -> None:
        """Wait until a worker has committed: it will not do so again for as long as its interval is."""
        known = self.crew.ledger.count("committed")
        until(lambda: self.crew.ledger.count("committed") > known, within, "a commit")

    def longest_pause(self, since: float, partition: int | None = None) -> float:
        """The most seconds in which no work was handled to its end: of one partition, or of all."""
        ends = [
            note.at
            for note in self.crew.ledger.notes()
            if note.event == "ok" and note.topic == self.topic and note.at >= since
            if partition in {None, note.partition}
        ]
        return max(later - sooner for sooner, later in pairwise(ends))

    def kill(self, worker: Service) -> None:
        """SIGKILL; what had been committed until then is looked at. One that is dead already is noted so."""
        if worker.alive:
            self.crew.kill(worker)
        else:
            self.note_death(worker)
        self.look_at_commits()

    def freeze(self, worker: Service, seconds: float) -> None:
        """SIGSTOP and, so much later, SIGCONT."""
        self.zombies.append(life(worker))
        worker.pause()
        pass_time(seconds)
        worker.resume()

    def wait_death(self, within: float = 60) -> Service:
        """Wait for one of the workers to end by itself; that one, which may be started again."""

        def dead() -> list[Service]:
            return [worker for worker in self.workers.values() if not worker.alive]

        until(dead, within, "a worker to end by itself")
        (worker,) = dead()
        self.crew.mourn(worker)
        self.look_at_commits()
        return worker

    def wait_at_work(self, *names: str, within: float = 60) -> None:
        """Wait until each of these workers has handled something from now on."""
        known = len(self.crew.ledger.notes())

        def at_work() -> bool:
            done = (note for note in islice(self.crew.ledger.notes(), known, None) if note.event == "ok")
            return {note.member.split(":")[0] for note in done} >= set(names)

        until(at_work, within, f"{', '.join(names)} to be at work")


class Trials:
    """Makes trials, judges them, and keeps the figures in the folder `results`."""

    def __init__(self, tell: Callable[[str], None], seed: int, results: Path = RESULTS) -> None:
        self.tell = tell
        self.seed = seed
        self.results = results

    @contextmanager
    def run(
        self,
        scenario: str,
        crew: Crew,
        workers: int = 2,
        *,
        allowed: Allowed | None = None,
        a_second: int = A_SECOND,
        keys: int = KEYS,
        contestant: str = "",
        must_hold: bool = True,
        **settings: Any,
    ) -> Iterator[Trial]:
        """A trial with `workers` at work; `settings` are variables of their environment.

        With `must_hold` any violation fails the test; else the caller asks `self.found`.
        """
        allowed = allowed or Allowed()
        began = time.monotonic()
        with ExitStack() as ends:
            trial = Trial(scenario, crew, self.seed, ends)
            for name in NAMES[:workers]:
                trial.hire(name, **settings)
            for worker in trial.workers.values():
                worker.wait_ready()
            error: BaseException | None = None
            try:
                with crew.load(a_second, keys) as trial.load:
                    trial.handle_more(100)
                    trial.sampler.look()
                    yield trial
            except BaseException as raised:
                error = raised
                raise
            finally:
                allowed = replace(allowed, zombies=(*allowed.zombies, *trial.zombies))
                self.evidence = self._conclude(trial, allowed, error)
        self.found = checks.judge(self.evidence, allowed)
        figures = gathering.figures(trial, self.evidence, self.found, allowed) | {
            "contestant": contestant,
            "seconds": round(time.monotonic() - began, 1),
        }
        self._keep(figures, allowed)
        self.tell(gathering.sentence(figures))
        if must_hold:
            assert not self.found, self._sentence(trial)
            assert not (unseen := checks.unseen(self.evidence)), f"{scenario}: nobody noted any {unseen}"

    def _conclude(self, trial: Trial, allowed: Allowed, error: BaseException | None) -> Evidence:
        """Wait for what is left, end the workers, and gather all there is to know."""
        if error is None:
            gathering.wait_drained(trial, allowed.drained)
            trial.sampler.look()
            for worker in trial.workers.values():
                if worker.alive:
                    trial.stop(worker)
                else:
                    trial.note_death(worker)
        evidence = gathering.gather(trial)
        if error is not None:
            evidence.save(self._failed(trial))
            error.add_note(f"seed {trial.seed}; the evidence is in {self._failed(trial)}")
        return evidence

    def _keep(self, figures: Mapping[str, Any], allowed: Allowed) -> None:
        self.results.mkdir(parents=True, exist_ok=True)
        path = (
            self.results / f"{file_name(figures['scenario'], figures['contestant'])}-{figures['seed']}.json"
        )
        path.write_text(json.dumps(dict(figures) | {"allowed": as_json(allowed)}, indent=1) + "\n")
        if self.found:
            self.evidence.save(self.results / "failed" / path.name)

    def _failed(self, trial: Trial) -> Path:
        return self.results / "failed" / f"{file_name(trial.scenario, '')}-{trial.seed}.json"

    def _sentence(self, trial: Trial) -> str:
        lines = [f"{name}: {len(found)} times; first: {found[0]}" for name, found in self.found.items()]
        again = f"FAULTS_SEED={trial.seed} makes it again; it is kept in {self._failed(trial)}"
        return "\n".join((f"{trial.scenario}: {again}", *lines))


def life(worker: Service) -> str:
    """The name in the ledger of the life that it lives now."""
    return f"{worker.name}:{worker.pid}"


NAMES = ("one", "two", "three", "four", "five", "six")


def file_name(scenario: str, contestant: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{scenario} {contestant}".lower()).strip("-")
