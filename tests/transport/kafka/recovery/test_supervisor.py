"""The supervisor with engines made of paper and a clock turned by hand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka.errors import KafkaConnectionError

from convex_messaging_fastapi.clock import Clock, ManualClock
from convex_messaging_fastapi.testing import until_idle
from convex_messaging_fastapi.transport.base import Problem
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import Explanation
from convex_messaging_fastapi.transport.kafka.recovery.engines import Ended, EngineKind
from convex_messaging_fastapi.transport.kafka.recovery.outage import Outage
from convex_messaging_fastapi.transport.kafka.recovery.probe import Reached
from convex_messaging_fastapi.transport.kafka.recovery.supervisor import Supervisor
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

REACHED = Reached({"bootstrap_servers": ["kafka:9092"]})
UNREACHABLE = Explanation(Problem.BROKER_UNREACHABLE, "kafka:9092: Connection refused")
WRONG_PASSWORD = Explanation(Problem.AUTHENTICATION_FAILED, "kafka:9092: the broker does not accept these")


class PaperEngine:
    def __init__(self) -> None:
        self.start_error: Exception | None = None
        self.dead: str | None = None
        self.quiet_for: float | None = 0.0
        self.wants_news = False
        self.refused = False
        self.pokes = 0
        self.pinged: list[float] = []
        self.hung_up = 0
        self.elsewhere: dict[int, str] = {}
        self.stopped = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.may_start = asyncio.Event()
        self.may_start.set()

    async def start(self) -> None:
        await self.may_start.wait()
        if self.start_error is not None:
            raise self.start_error

    async def stop(self, clock: Clock, deadline: float) -> None:
        await self.may_stop.wait()
        self.stopped.set()

    def failure(self) -> str | None:
        return self.dead

    # Its client is paper, too.

    @property
    def client(self) -> PaperEngine:
        return self

    def seconds_since_answer(self) -> float | None:
        return self.quiet_for

    def refresh_metadata(self) -> None:
        self.pokes += 1

    def ping_overdue_connections(self, seconds: float) -> None:
        self.pinged.append(seconds)

    def reconnect(self) -> None:
        self.hung_up += 1

    def unreachable(self) -> dict[int, str]:
        return self.elsewhere

    def needs_metadata(self) -> bool:
        return self.wants_news


class Stage:
    """A supervisor, its engines in the order they were built, and what it told."""

    def __init__(self, *, overlap: bool = False) -> None:
        self.clock = ManualClock()
        self.engines: list[PaperEngine] = []
        self.prepare: Callable[[PaperEngine], None] = lambda engine: None
        self.answer: Reached | Explanation = REACHED
        self.reaches: list[float] = []
        self.let_go: list[PaperEngine] = []
        self.supervisor = Supervisor(
            EngineKind("the engine", self._reach, self._build, overlap=overlap),
            self.clock,
            Tuning(),
            Outage("kafka:9092", self.clock, lambda: 7),
        )

    def started(self, engine: PaperEngine) -> None: ...

    async def lost(self, engine: PaperEngine) -> None:
        self.let_go.append(engine)

    async def begin(self) -> None:
        self.supervisor.start(self)
        await self.turn(0)

    async def turn(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass in small steps, and everybody do what it has to."""
        for _ in range(max(1, round(seconds / step))):
            if seconds:
                self.clock.advance(step)
            await until_idle(12)

    @property
    def problem(self) -> Problem | None:
        return self.supervisor.contact(member=True).problem

    async def _reach(self) -> Reached | Explanation:
        self.reaches.append(self.clock.now())
        return self.answer

    def _build(self, reached: Reached) -> PaperEngine:
        engine = PaperEngine()
        self.prepare(engine)
        self.engines.append(engine)
        return engine


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.supervisor.stop(stage.clock.now())


async def test_before_it_begins_it_is_connecting(stage: Stage) -> None:
    contact = stage.supervisor.contact(member=False)
    assert (contact.last, contact.problem, contact.member) == (None, Problem.CONNECTING, False)


async def test_an_engine_is_there_for_whoever_waits_for_one(stage: Stage) -> None:
    waiting = asyncio.ensure_future(stage.supervisor.engine())
    await stage.begin()
    assert await waiting is stage.engines[0]
    contact = stage.supervisor.contact(member=True)
    assert (contact.last, contact.problem, contact.rebuilds) == (0.0, None, 0)


@pytest.mark.parametrize("asked", [0, 1, 5])
async def test_a_question_changes_nothing_of_what_is_told_later(stage: Stage, asked: int) -> None:
    await stage.begin()
    stage.clock.advance(0.25)  # no look is due
    for _ in range(asked):
        assert stage.supervisor.contact(member=True).last == 0.25
    stage.engines[0].quiet_for = None
    assert stage.supervisor.contact(member=True).last == 0.0


async def test_no_engine_is_built_while_no_broker_answers(stage: Stage) -> None:
    stage.answer = UNREACHABLE
    await stage.begin()
    await stage.turn(20)
    assert stage.engines == []
    assert stage.supervisor.contact(member=False).detail == UNREACHABLE.detail
    stage.answer = REACHED
    await stage.turn(4.5)
    assert stage.problem is None


async def test_wrong_credentials_are_not_tried_often(stage: Stage) -> None:
    """Every try is a login, and logins lock accounts."""
    stage.answer = WRONG_PASSWORD
    await stage.begin()
    await stage.turn(120, step=1)
    assert stage.problem is Problem.AUTHENTICATION_FAILED
    assert len(stage.reaches) <= 13
    gaps = [later - sooner for sooner, later in zip(stage.reaches, stage.reaches[1:], strict=False)]
    assert min(gaps) > 1
    assert max(gaps) <= 16


async def test_an_engine_that_does_not_start_is_closed_and_another_built(stage: Stage) -> None:
    def fail(engine: PaperEngine) -> None:
        engine.start_error = KafkaConnectionError("gone again")

    stage.prepare = fail
    await stage.begin()
    assert stage.engines[0].stopped.is_set()
    assert "gone again" in stage.supervisor.contact(member=False).detail
    stage.prepare = lambda engine: None
    await stage.turn(2)
    assert stage.supervisor.current is stage.engines[-1]


async def test_an_engine_whose_start_never_ends_is_given_up(stage: Stage) -> None:
    stage.prepare = lambda engine: engine.may_start.clear()
    await stage.begin()
    await stage.turn(31, step=1)
    assert stage.engines[0].stopped.is_set()
    assert len(stage.engines) > 1


async def test_an_engine_whose_parts_died_is_replaced(stage: Stage) -> None:
    await stage.begin()
    first = stage.engines[0]
    first.dead = "the engine's fetching ended"
    await stage.turn(1)
    assert stage.let_go == [first]
    assert first.stopped.is_set()
    await stage.turn(1)
    assert stage.supervisor.current is stage.engines[1]
    assert stage.supervisor.contact(member=True).rebuilds == 1


async def test_a_successor_waits_for_the_end_of_its_predecessor(stage: Stage) -> None:
    """Its place in the group is free only then."""
    await stage.begin()
    first = stage.engines[0]
    first.may_stop.clear()
    stage.supervisor.replace(first, UNREACHABLE)
    await stage.turn(3)
    assert len(stage.engines) == 1
    first.may_stop.set()
    await stage.turn(3)
    assert len(stage.engines) == 2


async def test_with_overlap_the_successor_does_not_wait() -> None:
    stage = Stage(overlap=True)
    await stage.begin()
    stage.engines[0].may_stop.clear()
    stage.supervisor.replace(stage.engines[0], UNREACHABLE)
    await stage.turn(1)
    assert len(stage.engines) == 2
    stage.engines[0].may_stop.set()
    await stage.supervisor.stop(stage.clock.now())


async def test_replacing_one_that_is_gone_changes_nothing(stage: Stage) -> None:
    await stage.begin()
    first = stage.engines[0]
    stage.supervisor.replace(first, UNREACHABLE)
    stage.supervisor.replace(first, UNREACHABLE)
    await stage.turn(2)
    stage.supervisor.replace(first, UNREACHABLE)
    await stage.turn(2)
    assert len(stage.engines) == 2


async def test_one_that_broke_without_fault_of_the_cluster_is_followed_at_once(stage: Stage) -> None:
    """A caller's record that no topic takes must not slow down everybody else's."""
    await stage.begin()
    for _ in range(20):
        current = stage.supervisor.current
        assert current is not None
        stage.supervisor.replace(current, UNREACHABLE, at_once=True)
        await stage.turn(0)
        await stage.turn(0)
    assert len(stage.engines) == 21
    assert stage.clock.now() == 0


async def test_engines_that_die_again_and_again_are_built_ever_more_slowly(stage: Stage) -> None:
    def doomed(engine: PaperEngine) -> None:
        engine.dead = "dead on arrival"

    stage.prepare = doomed
    await stage.begin()
    await stage.turn(60)
    assert 8 < len(stage.engines) < 25


async def test_an_idle_engine_is_asked_now_and_then(stage: Stage) -> None:
    await stage.begin()
    stage.engines[0].quiet_for = 4.5
    await stage.turn(6)
    assert stage.engines[0].pokes > 0
    assert stage.problem is None


async def test_an_engine_that_waits_for_news_is_asked_at_every_look(stage: Stage) -> None:
    await stage.begin()
    stage.engines[0].wants_news = True
    await stage.turn(3)
    assert stage.engines[0].pokes == 3


async def test_answers_that_are_owed_for_long_are_chased_also_while_others_come(stage: Stage) -> None:
    await stage.begin()
    await stage.turn(3)
    assert stage.engines[0].pinged == [Tuning().ask_after_seconds] * 3


async def test_silence_is_explained_and_forgotten_when_it_ends(stage: Stage) -> None:
    await stage.begin()
    stage.answer = UNREACHABLE
    stage.engines[0].quiet_for = 1000
    await stage.turn(10)
    assert stage.problem is Problem.BROKER_UNREACHABLE
    assert stage.supervisor.contact(member=True).last is not None
    stage.engines[0].quiet_for = 0
    await stage.turn(1)
    assert stage.problem is None
    assert len(stage.engines) == 1, "an engine finds its brokers again by itself"


async def test_a_password_that_was_changed_ends_the_engine(stage: Stage) -> None:
    """Left alone it would log in several times a second."""
    await stage.begin()
    stage.answer = WRONG_PASSWORD
    stage.engines[0].quiet_for = 1000
    await stage.turn(10)
    assert stage.engines[0].stopped.is_set()
    assert stage.problem is Problem.AUTHENTICATION_FAILED
    before = len(stage.reaches)
    await stage.turn(30, step=1)
    assert len(stage.reaches) - before <= 6
    stage.answer = REACHED
    await stage.turn(31, step=1)
    assert stage.problem is None


async def test_a_login_that_was_refused_is_looked_into_at_once(stage: Stage) -> None:
    """Although other connections may still stand, and answer."""
    await stage.begin()
    stage.answer = WRONG_PASSWORD
    stage.engines[0].refused = True
    await stage.turn(1.25)
    assert stage.engines[0].stopped.is_set()
    assert stage.problem is Problem.AUTHENTICATION_FAILED


async def test_one_that_one_broker_refused_and_another_lets_in_goes_on(stage: Stage) -> None:
    """New credentials reach brokers one after another."""
    await stage.begin()
    stage.engines[0].refused = True
    await stage.turn(5)
    stage.engines[0].refused = False
    await stage.turn(30)
    assert len(stage.engines) == 1
    assert stage.problem is None


HUNG_UP = Explanation(Problem.AUTHENTICATION_FAILED, "kafka:9092: ended: check settings", certain=False)


async def test_a_connection_that_just_ends_may_be_a_wrong_setting_for_who_was_never_let_in(
    stage: Stage,
) -> None:
    """It is looked at again soon: a proxy whose broker is not up yet hangs up too."""
    stage.answer = HUNG_UP
    await stage.begin()
    await stage.turn(20)
    assert stage.problem is Problem.AUTHENTICATION_FAILED
    stage.answer = REACHED
    await stage.turn(4.5)
    assert stage.problem is None


async def test_whoever_was_let_in_before_is_not_kept_out_by_a_setting(stage: Stage) -> None:
    """So its engine lives on, and with it its place in the group."""
    await stage.begin()
    stage.answer = HUNG_UP
    stage.engines[0].quiet_for = 1000
    await stage.turn(10)
    assert stage.problem is Problem.BROKER_UNREACHABLE
    assert not stage.engines[0].stopped.is_set()


async def test_an_engine_that_looks_for_brokers_where_none_are_is_replaced(stage: Stage) -> None:
    """All addresses changed: the engine never asks the bootstrap servers again."""
    await stage.begin()
    stage.engines[0].quiet_for = 1000
    await stage.turn(30)
    assert stage.engines[0].stopped.is_set()
    assert stage.supervisor.current is stage.engines[1]


async def test_connections_that_died_unnoticed_are_closed_once_the_way_is_free(stage: Stage) -> None:
    """As behind a firewall that forgot them: nobody tells, and an answer would be waited for long."""
    await stage.begin()
    stage.answer = UNREACHABLE
    stage.engines[0].quiet_for = 7
    await stage.turn(5)
    assert stage.engines[0].hung_up == 0, "there is no way to a broker"

    stage.answer = REACHED
    await stage.turn(5)
    assert stage.engines[0].hung_up == 1

    await stage.turn(8)
    assert stage.engines[0].hung_up == 1, "only once: a slow way must not be cut off again and again"
    assert len(stage.engines) == 1


async def test_stop_does_not_wait_for_an_engine_that_does_not_end(stage: Stage) -> None:
    await stage.begin()
    stage.engines[0].may_stop.clear()
    stopping = asyncio.ensure_future(stage.supervisor.stop(stage.clock.now() + 1))
    await stage.turn(1.25)
    assert stopping.done()
    stage.engines[0].may_stop.set()


async def test_stop_ends_an_engine_that_was_still_starting(stage: Stage) -> None:
    stage.prepare = lambda engine: engine.may_start.clear()
    await stage.begin()
    stopping = asyncio.ensure_future(stage.supervisor.stop(stage.clock.now() + 1))
    await stage.turn(1.25)
    assert stopping.done()
    assert stage.engines[0].stopped.is_set()


async def test_whoever_waits_for_an_engine_learns_that_there_will_be_none(stage: Stage) -> None:
    stage.answer = UNREACHABLE
    await stage.begin()
    waiting = asyncio.ensure_future(stage.supervisor.engine())
    await stage.turn(0)
    await stage.supervisor.stop(stage.clock.now())
    with pytest.raises(Ended):
        await waiting


async def test_a_supervisor_that_fails_itself_says_so(stage: Stage) -> None:
    def refuse(engine: PaperEngine) -> None:
        raise ZeroDivisionError

    stage.prepare = refuse
    await stage.begin()
    contact = stage.supervisor.contact(member=True)
    assert contact.problem is Problem.ENGINE_FAILED
    assert "ZeroDivisionError" in contact.detail


async def test_an_outage_at_the_start_is_told_once_and_so_is_its_end(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.answer = UNREACHABLE
    await stage.begin()
    await stage.turn(60)
    stage.answer = WRONG_PASSWORD
    await stage.turn(60)
    stage.answer = REACHED
    await stage.turn(120)

    assert len(stage.reaches) > 5
    *troubles, end = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert troubles == [
        f"Kafka at kafka:9092 is not reached, trying again: {UNREACHABLE.detail}",
        f"Kafka at kafka:9092 is not reached, trying again: {WRONG_PASSWORD.detail}",
    ]
    assert re.fullmatch(r"Kafka at kafka:9092 is in contact after 1[23]\d\.\d s without", end)


@pytest.mark.parametrize("how", ["silence", "a task that died"])
async def test_contact_that_is_lost_is_told_once_each_time_and_regained_with_how_long_it_was(
    how: str, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.begin()
    await stage.turn(60)
    for _ in range(2):
        caplog.clear()
        stage.answer = UNREACHABLE
        if how == "silence":
            began = stage.clock.now()
            for _ in range(120):
                stage.engines[-1].quiet_for = stage.clock.now() - began
                await stage.turn(0.25)
        else:
            stage.supervisor.replace(stage.engines[-1], Explanation(Problem.ENGINE_FAILED, "its task died"))
            await stage.turn(30)
        stage.answer = REACHED
        stage.engines[-1].quiet_for = 0
        await stage.turn(90)
        lost, end = [line for line in caplog.messages if "replaced" not in line]
        assert lost == f"contact with Kafka at kafka:9092 is lost, trying again: {UNREACHABLE.detail}"
        assert re.fullmatch(r"Kafka at kafka:9092 is in contact after 3\d\.\d s without", end)


async def test_a_supervisor_that_ends_by_a_defect_says_that_nothing_looks_after_the_engine_any_more(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(engine: PaperEngine) -> None:
        raise RuntimeError("a defect")

    stage.prepare = defect
    await stage.begin()
    contact = stage.supervisor.contact(member=False)
    assert (contact.alive, contact.problem) == (False, Problem.ENGINE_FAILED)
    assert "a defect" in contact.detail
    assert "the engine is no longer supervised" in caplog.text


async def test_so_does_one_that_somebody_else_cancelled(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.begin()
    (supervising,) = [task for task in asyncio.all_tasks() if task.get_name() == "the engine supervisor"]
    supervising.cancel()
    await stage.turn(0)
    assert not stage.supervisor.contact(member=True).alive
    assert "the engine is no longer supervised" in caplog.text


async def test_one_that_was_stopped_says_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    await stage.begin()
    await stage.supervisor.stop(stage.clock.now() + 1)
    await stage.turn(0)
    assert stage.supervisor.contact(member=True).alive
    assert "no longer supervised" not in caplog.text


ELSEWHERE = "the cluster answers at kafka:9092, but names its broker 1 as pod:9092, which cannot be reached"


async def test_addresses_that_lead_nowhere_are_named_until_the_engine_is_heard(stage: Stage) -> None:
    """Also by its successors: they are sent to the same place."""

    def astray(engine: PaperEngine) -> None:
        engine.elsewhere, engine.quiet_for = {1: "pod:9092"}, 1e9

    stage.prepare = astray
    await stage.begin()
    await stage.turn(30)
    assert len(stage.engines) > 1
    contact = stage.supervisor.contact(member=True)
    assert contact.problem is Problem.BROKER_UNREACHABLE
    assert ELSEWHERE in contact.detail
    stage.engines[-1].elsewhere, stage.engines[-1].quiet_for = {}, 0.0
    await stage.turn(2)
    assert stage.problem is None


async def test_an_engine_whose_start_leads_nowhere_says_where(stage: Stage) -> None:
    def astray(engine: PaperEngine) -> None:
        engine.elsewhere = {1: "pod:9092"}
        engine.may_start.clear()

    stage.prepare = astray
    await stage.begin()
    await stage.turn(7)
    assert ELSEWHERE in stage.supervisor.contact(member=True).detail
    await stage.turn(30)
    assert ELSEWHERE in stage.supervisor.contact(member=True).detail


@pytest.mark.parametrize("named", [{}, {1: "kafka:9092"}], ids=["everything was reached", "it answers there"])
async def test_nobody_is_accused_of_a_wrong_address_without_one(stage: Stage, named: dict[int, str]) -> None:
    await stage.begin()
    stage.engines[0].elsewhere, stage.engines[0].quiet_for = named, 1e9
    await stage.turn(40)
    assert "advertised" not in stage.supervisor.contact(member=True).detail
