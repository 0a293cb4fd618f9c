"""FastAPI apps as real `uvicorn` processes: started, waited for by their probes, ended in every way."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.waiting import until
from tools.kafka.common import HOST, free_ports
from tools.processes import Child

Command = Callable[[str, int], tuple[str, ...]]
"""The module and the words that serve an app, by its name, on a port."""

ROOT = Path(__file__).parents[2]
EXAMPLE = "example_app.main:app"
OURS = (
    "KAFKA_",
    "CONVEXMESSAGING__",
    "EXAMPLE_",
    "CONSOLE_",
    "APP_ENV",
    "DOTNET_ENVIRONMENT",
    "ASPNETCORE_ENVIRONMENT",
)


class Service:
    """One app on one port; it may end and start again there. All calls block.

    `environment` is added to this process's own, of which whatever the package or the example
    would read is left out. It runs in `folder`, where its log is `{name}.log`.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        app: str = EXAMPLE,
        name: str = "app",
        options: tuple[str, ...] = ("--timeout-graceful-shutdown", "5"),
        command: Command | None = None,
    ) -> None:
        self.name = name
        self.port = next(free_ports())
        self.address = f"http://{HOST}:{self.port}"
        self.log = folder / f"{name}.log"
        self._folder = folder
        self.environment = clean_environment() | dict(environment or {})
        where = ("--host", HOST, "--port", str(self.port))
        uvicorn = ("uvicorn", app, *where, "--no-access-log", *options)
        self._command = (sys.executable, "-m", *(command(app, self.port) if command else uvicorn))
        self._child: Child | None = None

    def start(self) -> Self:
        """Start it (again). Returns at once: wait with `wait_ready`."""
        if not self.alive:
            self._child = Child(self._command, self.log, env=self.environment, cwd=self._folder)
        return self

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int:
        return self._started.pid

    def wait_ready(self, within: float = 30) -> Self:
        """Return once it can do its work: in contact with Kafka and a member of its groups."""
        return self.wait_for("/health/kafka/ready", 200, within)

    def wait_for(self, path: str, status: int, within: float) -> Self:
        """Return once `path` answers `status`; fail with the log when it does not, or the process ends."""

        def answered() -> bool:
            if not self.alive:
                raise AssertionError(f"{self.name} ended while it was waited for\n{self.tail()}")
            return self.status_of(path) == status

        try:
            until(answered, within, f"{status} from {path} of {self.name}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it says {self.said('/health/kafka')}\n{self.tail()}") from None
        return self

    def status_of(self, path: str) -> int | None:
        """The status of a GET; `None` while nobody answers."""
        try:
            return httpx.get(self.address + path, timeout=5).status_code
        except httpx.TransportError:
            return None

    def said(self, path: str) -> str:
        """The body of a GET, whatever its status, or why there is none."""
        try:
            return httpx.get(self.address + path, timeout=5).text
        except httpx.TransportError as error:
            return repr(error)

    def get(self, path: str) -> Any:
        """The JSON of a GET that must succeed."""
        return httpx.get(self.address + path, timeout=10).raise_for_status().json()

    def post(self, path: str, body: object) -> Any:
        """The JSON of a POST that must succeed."""
        return httpx.post(self.address + path, json=body, timeout=20).raise_for_status().json()

    def terminate(self, within: float = 40) -> int:
        """SIGTERM; its exit code once it has ended. One that does not end in time is killed and told of.

        After a clean shutdown uvicorn ends by the signal itself: the code is `-SIGTERM`.
        """
        return self._started.terminate(within)

    def end(self, within: float) -> int:
        """SIGTERM to the server's first process alone, as an orchestrator sends it; its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(within)

    def pause(self) -> None:
        """SIGSTOP: its sockets stay open, nothing answers."""
        self._started.send(signal.SIGSTOP)

    def resume(self) -> None:
        self._started.send(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.alive:
            self._started.kill()

    def wait(self, within: float) -> int:
        """Its exit code once it has ended by itself."""
        return self._started.wait(within)

    def tail(self, lines: int = 40) -> str:
        return self._started.tail(lines)

    @property
    def _started(self) -> Child:
        assert self._child is not None, f"{self.name} was never started"
        return self._child


@contextmanager
def service(
    folder: Path, environment: Mapping[str, str] | None = None, *, app: str = EXAMPLE, name: str = "app"
) -> Iterator[Service]:
    """A started service, not yet ready; killed at the end unless it has ended before."""
    started = Service(folder, environment, app=app, name=name).start()
    try:
        yield started
    finally:
        started.kill()


def clean_environment() -> dict[str, str]:
    """This process's environment, without what the package or the example would read; our code in reach."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(OURS)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
