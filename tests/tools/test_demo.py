"""`make demo` makes good and failing calls at a pace that is bounded, and says what it lacks."""

from __future__ import annotations

import signal
import sys
from itertools import islice
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel

from example_app.main import NewBet, NewUser
from tests.support.services import ROOT, clean_environment
from tests.support.waiting import until
from tools import demo
from tools.kafka.common import free_ports
from tools.processes import Child


def app(*answers: int | None) -> httpx.Client:
    """Answers with these statuses, one after another; `None`: nobody answers."""
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        if (status := left.pop(0)) is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(status, json={"detail": "no broker answers"})

    return httpx.Client(base_url="http://app", transport=httpx.MockTransport(answer))


BET = demo.Call("/bets", {"user_id": 1, "stake": "10.00", "card": "declined"}, fails=True)


def test_the_app_takes_every_call_and_some_of_the_payments_fail() -> None:
    calls = list(islice(demo.calls(), 100))
    for call in calls:
        model: type[BaseModel] = NewUser if call.path == "/users" else NewBet
        model.model_validate(call.body)
    assert {call.body.get("card") for call in calls} == {None, "4242", "declined", "expired"}
    failing = [call for call in calls if call.fails]
    assert 10 <= len(failing) <= 30
    assert all(call.body["card"] != "4242" for call in failing)


def test_trouble_is_said_once_and_so_is_its_end() -> None:
    said: list[str] = []
    calls = demo.Demo(app(None, None, 503, 201, 201), said.append)
    assert [calls.make(BET) for _ in range(5)] == [False, False, False, True, True]
    assert said == [
        "nobody answers on http://app: say `make run` in another terminal; trying again",
        "the app cannot publish: no broker answers; trying again",
        "the app takes bets again",
    ]
    assert calls.placed == (2, 2)


def test_an_app_that_is_another_ends_it() -> None:
    with pytest.raises(SystemExit, match="/bets of http://app refuses"):
        demo.Demo(app(404), print).make(BET)


@pytest.mark.parametrize("rate", ["0", "-1", "51", "nan", "inf", "many", ""])
def test_a_pace_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 50"):
        demo.pace(rate)


def test_ctrl_c_ends_it_and_it_says_what_it_did(tmp_path: Path) -> None:
    """Here nobody answers, which it says once."""
    words = (sys.executable, "-m", "tools.demo", "127.0.0.1", str(next(free_ports())))
    child = Child(words, tmp_path / "demo.log", env=clean_environment(), cwd=ROOT)
    try:
        until(lambda: "nobody answers" in child.log.read_text(), 20, "what it says of an app that is away")
        child.send(signal.SIGINT)
        assert child.wait(10) == 0
    finally:
        child.kill()
    assert child.log.read_text().splitlines()[-1] == "0 calls taken; 0 of the payments fail"
