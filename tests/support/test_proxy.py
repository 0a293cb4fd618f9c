"""Every rule of the proxy, in front of a server that answers each frame with its own bytes."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.support.frames import (
    BLACK_HOLE,
    DEAF,
    FORGOTTEN,
    MUTE,
    PASS,
    REFUSED,
    Api,
    Fate,
    Flow,
    Frame,
    Rule,
    Step,
    answers,
    decide,
    narrow,
    slow,
    take_whole,
)
from tests.support.proxy import MOST_HELD, Proxy, proxies_of
from tests.support.waiting import until
from tools.kafka.common import HOST

SOON = 5.0
"""Longer than anything takes here."""
MOMENT = 0.1
"""Silence for so long is silence."""


class Echo(socketserver.ThreadingTCPServer):
    """Answers a request of any API with its correlation id and its body, and counts what it heard."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), Answering)
        self.heard: list[int] = []
        self.ends: list[str] = []

    @property
    def address(self) -> str:
        return f"{HOST}:{self.server_address[1]}"


class Answering(socketserver.BaseRequestHandler):
    server: Echo

    def handle(self) -> None:
        buffer = bytearray()
        try:
            while data := self.request.recv(65536):
                buffer += data
                for frame in take_whole(buffer):
                    self.answer(frame)
        except ConnectionResetError:
            self.server.ends.append("reset")
        else:
            self.server.ends.append("closed")

    def answer(self, frame: bytes) -> None:
        correlation, name = struct.unpack_from(">ih", frame, 8)
        self.server.heard.append(correlation)
        body = frame[14 + name :]
        self.request.sendall(struct.pack(">ii", 4 + len(body), correlation) + body)


class Client:
    """Sends requests one after another on one connection."""

    def __init__(self, address: str, name: str = "") -> None:
        host, port = address.split(":")
        self._name = struct.pack(">h", len(name)) + name.encode()
        self.socket = socket.create_connection((host, int(port)), SOON)
        self._sent = 0
        self._buffer = bytearray()

    def ask(self, body: bytes = b"", api: int = Api.METADATA) -> int:
        self._sent += 1
        header = struct.pack(">hhi", api, 0, self._sent) + self._name
        self.socket.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
        return self._sent

    def ask_for_ever(self, body: bytes) -> None:
        while True:
            self.ask(body)

    def hear(self, within: float = SOON) -> tuple[int, bytes]:
        """The next answer: which request it belongs to, and its body. `TimeoutError` when there is none."""
        self.socket.settimeout(within)
        while True:
            for frame in take_whole(self._buffer):
                return struct.unpack_from(">i", frame, 4)[0], frame[8:]
            if not (data := self.socket.recv(65536)):
                raise EOFError
            self._buffer += data

    def hears_nothing(self) -> bool:
        try:
            self.hear(MOMENT)
        except TimeoutError:
            return True
        return False


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with proxies_of({1: echo.address}) as proxies:
        yield proxies[1]


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Client]:
    client = Client(proxy.address)
    client.ask(b"hello")
    assert client.hear() == (1, b"hello")
    yield client
    client.socket.close()


def another(proxy: Proxy, ends: ExitStack, name: str = "") -> Client:
    client = Client(proxy.address, name)
    ends.callback(client.socket.close)
    return client


def test_everything_passes_as_it_is(client: Client, proxy: Proxy) -> None:
    body = bytes(range(256)) * 4096
    numbers = [client.ask(body), client.ask()]
    assert [client.hear() for _ in numbers] == [(2, body), (3, b"")]
    assert proxy.asked == {Api.METADATA: 3}
    assert (proxy.connections, proxy.held()) == (1, {})


def test_the_end_of_one_side_is_told_to_the_other(client: Client, echo: Echo, proxy: Proxy) -> None:
    client.socket.close()
    until(lambda: echo.ends == ["closed"], SOON, "the end")
    until(lambda: proxy.connections == 0, SOON, "nothing to be left")


def test_a_black_hole_holds_bytes_both_ways_until_it_is_over(
    client: Client, echo: Echo, proxy: Proxy
) -> None:
    with proxy.following(BLACK_HOLE):
        client.ask(b"one")
        client.ask(b"two", Api.HEARTBEAT)
        assert client.hears_nothing()
        assert echo.heard == [1]
        assert proxy.held() == {Api.METADATA: 1, Api.HEARTBEAT: 1}
    assert [client.hear(), client.hear()] == [(2, b"one"), (3, b"two")]


def test_a_connection_made_during_a_black_hole_is_held_too(client: Client, proxy: Proxy, echo: Echo) -> None:
    with ExitStack() as ends:
        with proxy.following(BLACK_HOLE):
            late = another(proxy, ends)
            late.ask(b"late")
            assert late.hears_nothing()
        assert late.hear() == (1, b"late")


def test_what_a_client_that_gave_up_had_sent_arrives_after_the_release(
    client: Client, proxy: Proxy, echo: Echo
) -> None:
    """Hold and release: late requests of old connections are what makes zombies."""
    with proxy.following(BLACK_HOLE):
        client.ask(b"late")
        client.socket.close()
        until(lambda: proxy.held() == {Api.METADATA: 1}, SOON, "the request to be held")
        assert (echo.heard, echo.ends) == ([1], [])
    until(lambda: echo.heard == [1, 2] and echo.ends, SOON, "the request, then the end")


def test_open_connections_can_be_held_while_new_ones_pass(client: Client, proxy: Proxy) -> None:
    with ExitStack() as ends:
        proxy.set_apart(BLACK_HOLE)
        client.ask(b"old")
        newer = another(proxy, ends)
        newer.ask(b"new")
        assert newer.hear() == (1, b"new")
        assert client.hears_nothing()
        proxy.set_apart(None)
        assert client.hear() == (2, b"old")


def test_one_client_can_be_cut_off_whatever_connections_it_makes(client: Client, proxy: Proxy) -> None:
    with ExitStack() as ends:
        old = another(proxy, ends, "unlucky")
        old.ask()
        assert old.hear() == (1, b"")
        proxy.single_out("unlucky", BLACK_HOLE)
        new = another(proxy, ends, "unlucky")
        for each in (old, new, client):
            each.ask(b"held")
        assert client.hear() == (2, b"held")
        assert old.hears_nothing()
        assert new.hears_nothing()
        proxy.single_out("unlucky", None)
        assert (old.hear(), new.hear()) == ((2, b"held"), (1, b"held"))


def test_what_was_held_is_dropped_when_connections_are_forgotten(
    client: Client, proxy: Proxy, echo: Echo
) -> None:
    with proxy.following(BLACK_HOLE):
        client.ask(b"lost")
        until(lambda: proxy.held() == {Api.METADATA: 1}, SOON, "the request to be held")
        proxy.set_apart(FORGOTTEN)
        until(lambda: not proxy.held(), SOON, "the request to be dropped")
    client.ask(b"lost too")
    assert client.hears_nothing()
    assert echo.heard == [1]


def test_half_open_the_broker_hears_nothing(client: Client, proxy: Proxy, echo: Echo) -> None:
    with proxy.following(MUTE):
        client.ask()
        assert client.hears_nothing()
        assert echo.heard == [1]
    assert client.hear() == (2, b"")


def test_half_open_the_client_hears_nothing(client: Client, proxy: Proxy, echo: Echo) -> None:
    with proxy.following(DEAF):
        client.ask()
        until(lambda: echo.heard == [1, 2], SOON, "the request to be heard")
        assert client.hears_nothing()
    assert client.hear() == (2, b"")


def test_a_delay_is_for_each_way_and_keeps_the_order(client: Client, proxy: Proxy) -> None:
    with proxy.following(slow(0.05, jitter=0.02)):
        began = time.monotonic()
        numbers = [client.ask() for _ in range(5)]
        assert [client.hear()[0] for _ in numbers] == numbers
        assert 0.1 <= time.monotonic() - began < 1


def test_a_delay_that_ends_lets_go_what_it_delayed(client: Client, proxy: Proxy) -> None:
    with proxy.following(slow(3600)):
        client.ask()
        assert client.hears_nothing()
    assert client.hear() == (2, b"")


def test_a_narrow_line_takes_its_time(client: Client, proxy: Proxy) -> None:
    with proxy.following(narrow(100_000)):
        began = time.monotonic()
        client.ask(bytes(10_000))
        client.hear()
        assert 0.2 <= time.monotonic() - began < 1


def test_a_reset_is_heard_by_both_sides(client: Client, proxy: Proxy, echo: Echo) -> None:
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.hear()
    until(lambda: echo.ends == ["reset"], SOON, "the broker to hear of it")
    until(lambda: proxy.connections == 0, SOON, "nothing to be left")


def test_a_close_is_an_end_in_order(client: Client, proxy: Proxy, echo: Echo) -> None:
    proxy.close()
    with pytest.raises(EOFError):
        client.hear()
    until(lambda: echo.ends == ["closed"], SOON, "the broker to hear of it")


def test_whoever_comes_may_be_refused_while_others_go_on(client: Client, proxy: Proxy) -> None:
    with ExitStack() as ends:
        with proxy.following(REFUSED):
            with pytest.raises(ConnectionResetError):
                another(proxy, ends).hear()
            client.ask()
            assert client.hear() == (2, b"")
        newer = another(proxy, ends)
        newer.ask()
        assert newer.hear() == (1, b"")


def test_a_broker_that_is_not_there_is_answered_for_by_a_reset() -> None:
    nowhere = proxies_of({1: f"{HOST}:1"})
    with nowhere as proxies, ExitStack() as ends, pytest.raises(ConnectionResetError):
        another(proxies[1], ends).hear()


def test_the_answers_of_one_api_are_dropped_and_others_pass(client: Client, proxy: Proxy, echo: Echo) -> None:
    with proxy.following(answers(Api.OFFSET_COMMIT, Fate.DROP)):
        client.ask(api=Api.OFFSET_COMMIT)
        client.ask(b"alive", api=Api.HEARTBEAT)
        assert client.hear() == (3, b"alive")
    assert echo.heard == [1, 2, 3], "the broker did what it was asked"
    assert proxy.lost == {Api.OFFSET_COMMIT: 1}
    client.ask(b"again", api=Api.OFFSET_COMMIT)
    assert client.hear() == (4, b"again")


def test_a_held_answer_holds_those_behind_it(client: Client, proxy: Proxy) -> None:
    with proxy.following(answers(Api.JOIN_GROUP, Fate.HOLD)):
        client.ask(b"join", api=Api.JOIN_GROUP)
        client.ask(b"beat", api=Api.HEARTBEAT)
        until(lambda: proxy.held() == {Api.JOIN_GROUP: 1, Api.HEARTBEAT: 1}, SOON, "two held answers")
        assert client.hears_nothing()
    assert [client.hear(), client.hear()] == [(2, b"join"), (3, b"beat")]


def test_an_answer_may_be_replaced_by_a_reset(client: Client, proxy: Proxy, echo: Echo) -> None:
    with proxy.following(answers(Api.PRODUCE, Fate.RESET)):
        client.ask(api=Api.PRODUCE)
        with pytest.raises(ConnectionResetError):
            client.hear()
    assert echo.heard == [1, 2]
    assert proxy.lost == {Api.PRODUCE: 1}


def test_a_way_that_holds_much_reads_no_more(client: Client, proxy: Proxy) -> None:
    body = bytes(2**20)
    client.socket.settimeout(0.5)
    with proxy.following(BLACK_HOLE):
        with pytest.raises(TimeoutError):
            client.ask_for_ever(body)
        assert sum(proxy.held().values()) <= MOST_HELD // len(body) + 1


def test_many_proxies_follow_rules_of_their_own(echo: Echo) -> None:
    with proxies_of({1: echo.address, 2: echo.address}) as proxies, ExitStack() as ends:
        cut, whole = another(proxies[1], ends), another(proxies[2], ends)
        proxies[1].follow(BLACK_HOLE)
        cut.ask()
        whole.ask()
        assert whole.hear() == (1, b"")
        assert cut.hears_nothing()


FRAME = Frame(b"some bytes", Api.HEARTBEAT, at=100.0, luck=0.5)


@pytest.mark.parametrize(
    ("flow", "now", "step"),
    [
        (Flow(), 100.0, Step.SEND),
        (Flow(Fate.HOLD), 900.0, Step.WAIT),
        (Flow(Fate.DROP), 100.0, Step.DROP),
        (Flow(delay=1), 100.9, Step.WAIT),
        (Flow(delay=1), 101.0, Step.SEND),
        (Flow(delay=1, jitter=1), 101.4, Step.WAIT),
        (Flow(delay=1, jitter=1), 101.5, Step.SEND),
        (Flow(fates={Api.HEARTBEAT: Fate.RESET}), 100.0, Step.RESET),
        (Flow(fates={Api.PRODUCE: Fate.RESET}), 100.0, Step.SEND),
        (Flow(delay=1, fates={Api.HEARTBEAT: Fate.DROP}), 100.0, Step.DROP),
    ],
)
def test_what_a_rule_says_of_a_frame(flow: Flow, now: float, step: Step) -> None:
    assert decide(flow, FRAME, now) is step


def test_an_end_passes_where_frames_are_dropped() -> None:
    assert decide(FORGOTTEN.there, FRAME._replace(data=b""), 100.0) is Step.SEND


def test_nothing_is_done_to_anything_unless_a_rule_says_so() -> None:
    assert Rule() == PASS


def test_a_client_that_still_waits_for_its_broker_is_let_go_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looking = threading.Event()

    async def look_for_ever(*_: object) -> None:
        looking.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_connection", look_for_ever)
    with ExitStack() as ends:
        with proxies_of({1: f"{HOST}:1"}) as proxies:
            client = Client(proxies[1].address)
            ends.callback(client.socket.close)
            assert looking.wait(SOON)
        with pytest.raises(EOFError):
            client.hear()


def test_both_sides_are_let_go_although_the_end_comes_while_one_is_leaving(
    echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving = threading.Event()

    async def take_for_ever(self: asyncio.StreamWriter) -> None:
        leaving.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.StreamWriter, "wait_closed", take_for_ever)
    with proxies_of({1: echo.address}) as proxies:
        client = Client(proxies[1].address)
        client.ask()
        client.hear()
        client.socket.close()
        assert leaving.wait(SOON)
    until(lambda: echo.ends == ["closed"], SOON, "the broker to hear of it")


@pytest.mark.parametrize("is_leaving", [False, True], ids=["at work", "leaving"])
def test_a_broker_that_reads_nothing_keeps_nobody_at_the_end(is_leaving: bool) -> None:
    """What cannot be handed over any more is dropped, and the broker hears that it was."""
    with socket.create_server((HOST, 0)) as deaf, ExitStack() as ends:
        with proxies_of({1: f"{HOST}:{deaf.getsockname()[1]}"}) as proxies:
            client = another(proxies[1], ends)
            client.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.ask_for_ever(bytes(2**20))
            broker, _ = deaf.accept()
            ends.callback(broker.close)
            if is_leaving:
                proxies[1].close()
            left = time.monotonic()
        assert time.monotonic() - left < SOON
        broker.settimeout(SOON)
        with suppress(ConnectionResetError):
            while broker.recv(2**20):
                pass
