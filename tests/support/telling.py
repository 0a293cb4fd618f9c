"""Lines that tests tell whoever looks on: at once, or from one of several processes when its test is over."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

TOLD = "told"


class Telling:
    """A plugin. `summary` are lines for the end of the run, those of all processes."""

    NAME = "telling"

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._waiting: list[str] = []
        self.summary: list[str] = []

    def tell(self, line: str) -> None:
        """Past whatever captures output."""
        terminal = self._terminal
        if terminal is None:
            self._waiting.append(line)
            return
        capture = self._config.pluginmanager.getplugin("capturemanager")
        assert capture is not None
        with capture.global_and_fixture_disabled():
            terminal.write_line(f"\n{line}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        report.user_properties += ((TOLD, line) for line in self._waiting)
        self._waiting = []
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._terminal is not None:
            for name, line in report.user_properties:
                if name == TOLD:
                    self._terminal.write_line(f"\n{line}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["summary"] = self.summary

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.summary += getattr(node, "workeroutput", {}).get("summary", ())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.summary or ["real kafka: no test asked for one"]:
            terminalreporter.write_line(line)

    @property
    def _terminal(self) -> pytest.TerminalReporter | None:
        """Of those that run tests side by side none has one that is seen."""
        if hasattr(self._config, "workerinput"):
            return None
        terminal: pytest.TerminalReporter | None = self._config.pluginmanager.getplugin("terminalreporter")
        return terminal


def telling(config: pytest.Config) -> Telling:
    plugin = config.pluginmanager.getplugin(Telling.NAME)
    assert isinstance(plugin, Telling)
    return plugin
