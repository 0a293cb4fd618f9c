"""Servers with several processes: each message handled once, ids of their own, a drain before the end."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from _pytest.mark import ParameterSet

from tests.servers import app as served
from tests.support.independent import Independent
from tests.support.required import REQUIRED
from tests.support.services import Command, Service
from tests.support.telling import telling
from tests.support.waiting import until
from tools.kafka.cluster import Cluster
from tools.kafka.common import HOST

pytestmark = pytest.mark.timeout(240)

APP = "tests.servers.app:app"
ROUND = 40
WITHIN = 60.0
KINDS = ("async", "def")


class Server(Protocol):
    """The command that serves an app, by its name, on a port, in so many processes."""

    __name__: str

    def __call__(self, app: str, port: int, workers: int) -> tuple[str, ...]: ...


def uvicorn(app: str, port: int, workers: int) -> tuple[str, ...]:
    return ("uvicorn", app, "--host", HOST, "--port", str(port), "--workers", str(workers))


def gunicorn(app: str, port: int, workers: int) -> tuple[str, ...]:
    """The app is imported before the processes are forked, and so is its bus."""
    how = ("--preload", "--worker-class", "uvicorn_worker.UvicornWorker", "--workers", str(workers))
    return ("gunicorn", app, "--bind", f"{HOST}:{port}", *how)


def hypercorn(app: str, port: int, workers: int) -> tuple[str, ...]:
    return ("hypercorn", app, "--bind", f"{HOST}:{port}", "--workers", str(workers))


def granian(app: str, port: int, workers: int) -> tuple[str, ...]:
    where = ("--host", HOST, "--port", str(port))
    return ("granian", app, "--interface", "asgi", *where, "--workers", str(workers))


def reloading(app: str, port: int) -> tuple[str, ...]:
    return ("uvicorn", app, "--host", HOST, "--port", str(port), "--reload")


@dataclass(frozen=True, slots=True)
class Scene:
    """One server at work on a real Kafka, and what the processes of its app have noted."""

    service: Service
    notes: Path
    group: str
    prefix: str
    witness: Independent

    def noted(self, what: str) -> list[list[str]]:
        """Of each such note the process and what it said."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [words[1:] for line in lines if (words := line.split())[0] == what]

    def processes(self, what: str) -> set[str]:
        return {process for process, *_ in self.noted(what)}

    def wait_noted(self, what: str, many: int) -> None:
        until(lambda: len(self.noted(what)) >= many, WITHIN, f"{many} x {what!r}\n{self.service.tail()}")

    def unread(self) -> int:
        """How many slow messages nobody has committed."""
        return self.witness.lag(self.group, f"{self.prefix}.slow")


@pytest.fixture
def serve(kafka: Cluster, unique: str, tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """Starts a server, and returns once it is ready; it is killed at the end unless it has ended."""
    started: list[Service] = []

    def scene(command: Command, app: str = APP) -> Scene:
        notes = tmp_path / "notes"
        environment = {
            served.NOTES: str(notes),
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "KAFKA_TOPIC_PREFIX": unique,
            "KAFKA_CONSUMER_GROUP": unique,
            "KAFKA_CREATE_TOPICS": "true",
            "KAFKA_TOPIC_PARTITIONS": "4",
        }
        service = Service(tmp_path, environment, app=app, command=command)
        started.append(service)
        service.start().wait_ready(WITHIN)
        return Scene(service, notes, unique, unique, Independent(kafka.bootstrap))

    yield scene
    for service in started:
        service.kill()


def apart(*values: object) -> ParameterSet:
    """In a lane of its own, where its packages are installed."""
    return pytest.param(*values, marks=pytest.mark.servers)


@pytest.mark.parametrize("server", [uvicorn, apart(gunicorn), apart(hypercorn), apart(granian)])
def test_two_processes_share_the_work(
    serve: Callable[..., Scene], server: Server, pytestconfig: pytest.Config
) -> None:
    """Each message is handled once, and processes that were forked mint ids of their own."""
    need(server)
    scene = serve(partial(server, workers=2))
    handled = handle_until_both_have_a_share(scene)

    for words in (scene.noted("passed"), scene.noted("shipped")):
        assert sorted(int(n) for _, n, *_ in words) == list(range(handled))
    assert len({id for _, _, id, _ in scene.noted("shipped")}) == handled
    assert all(is_open == "True" for *_, is_open in scene.noted("shipped"))
    tell(pytestconfig, f"{server.__name__}: {handled} messages, each handled once, by two processes")


# Hypercorn ends all its processes as soon as one has ended: of several, one that is busy is cut off.
DRAINED = [(uvicorn, 2), apart(gunicorn, 2), apart(hypercorn, 1), apart(granian, 2)]


@pytest.mark.parametrize(("server", "workers"), DRAINED)
def test_a_stop_waits_for_handlers(
    serve: Callable[..., Scene], server: Server, workers: int, pytestconfig: pytest.Config
) -> None:
    """Also for those in threads; and the app's own lifespan is still open, and ends everywhere."""
    need(server)
    scene = serve(partial(server, workers=workers))
    until(lambda: len(scene.processes("opened")) == workers, WITHIN, "every process to be there")
    scene.service.post("/slow", None)
    scene.wait_noted("begun", 2)

    told = time.monotonic()
    assert scene.service.end(WITHIN) == 0, scene.service.tail()
    tell(pytestconfig, f"{server.__name__}: ended {time.monotonic() - told:.1f} s after SIGTERM, exit code 0")
    done = sorted(words for _, *words in scene.noted("done"))
    assert done == [["async", "1", "True"], ["def", "1", "True"]], scene.service.tail()
    assert len(scene.processes("closed")) == workers
    assert scene.unread() == 0


def handle_until_both_have_a_share(scene: Scene) -> int:
    """How many messages it took: the second process may come late to the group."""
    for handled in range(ROUND, 50 * ROUND, ROUND):
        scene.service.post(f"/orders?first={handled - ROUND}&many={ROUND}", None)
        scene.wait_noted("shipped", handled)
        if len(scene.processes("passed")) == len(scene.processes("shipped")) == 2:
            return handled
    raise AssertionError(f"one process did everything\n{scene.service.tail()}")


def test_a_reload_waits_for_handlers_and_the_next_process_goes_on(
    serve: Callable[..., Scene], tmp_path: Path
) -> None:
    """What waited behind them is handled once, by the new process."""
    source = tmp_path / "reloaded.py"
    shutil.copy(served.__file__, source)
    scene = serve(reloading, "reloaded:app")
    for n in (1, 2):
        scene.service.post(f"/slow?n={n}", None)
    scene.wait_noted("begun", 2)

    source.write_text(source.read_text() + "\n# changed\n")
    scene.wait_noted("done", 4)

    first, second = (process for process, *_ in scene.noted("opened"))
    expected = [[process, kind, n, "True"] for process, n in ((first, "1"), (second, "2")) for kind in KINDS]
    assert sorted(scene.noted("done")) == sorted(expected)
    assert len(scene.noted("begun")) == 4
    scene.service.end(WITHIN)
    assert scene.processes("closed") == {first, second}
    assert scene.unread() == 0


def need(server: Server) -> None:
    """Where a server must be there, its absence is a failure."""
    name = server.__name__
    if importlib.util.find_spec(name) is None:
        assert not REQUIRED, f"{name} is not installed: use `make test-servers`"
        pytest.skip(f"{name} is not installed: use `make test-servers`")


def tell(config: pytest.Config, line: str) -> None:
    telling(config).summary.append(line)
