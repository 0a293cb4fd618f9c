"""Large messages are decoded beside the loop: it goes on meanwhile, and nothing is left of it."""

from __future__ import annotations

import asyncio
import threading
from typing import Annotated

import pytest
from pydantic import AfterValidator

from convex_messaging_fastapi import Batch, MessageBus, MessagingSettings
from convex_messaging_fastapi.consuming.decode_thread import DecodeThread
from convex_messaging_fastapi.messages.bounds import LARGE_BYTES

LARGE = "a" * LARGE_BYTES
SMALL = "b"


def bus_in_memory() -> MessageBus:
    return MessageBus(MessagingSettings(bootstrap_servers="memory://", consumer_group="bets"))


def noting(threads: dict[str, str]) -> AfterValidator:
    """Notes the thread that a text is validated in."""

    def note(text: str) -> str:
        threads[text[:1]] = threading.current_thread().name
        return text

    return AfterValidator(note)


async def test_a_large_message_is_decoded_in_a_thread_and_a_small_one_where_it_is() -> None:
    bus, threads, handled = bus_in_memory(), dict[str, str](), list[int]()

    async def read(text: Annotated[str, noting(threads)]) -> None:
        handled.append(len(text))

    async with bus.test() as t:
        await bus.subscribe("notes", read)
        for text in (LARGE, SMALL):
            await bus.publish("notes", text)
        await t.settle()
    assert sorted(handled) == [1, len(LARGE)]
    assert threads["b"] == threading.current_thread().name != threads["a"]


async def test_a_large_member_of_a_batch_too() -> None:
    bus, threads, handled = bus_in_memory(), dict[str, str](), list[int]()

    async def read(texts: list[Annotated[str, noting(threads)]]) -> None:
        handled.extend(map(len, texts))

    async with bus.test() as t:
        await bus.subscribe("notes", read, batch=Batch(max_records=2, max_wait_seconds=1))
        for text in (LARGE, SMALL):
            await bus.publish("notes", text, key="one")
        await t.settle()
    assert handled == [len(LARGE), 1]
    assert threads["b"] == threading.current_thread().name != threads["a"]


async def test_bytes_are_not_decoded_anywhere() -> None:
    bus, seen, before = bus_in_memory(), list[set[threading.Thread]](), set(threading.enumerate())

    async def read(value: bytes) -> None:
        seen.append(set(threading.enumerate()))

    async with bus.test() as t:
        await bus.subscribe("notes", read)
        await bus.publish("notes", LARGE)
        await t.settle()
    (while_handled,) = seen
    assert while_handled <= before


async def test_the_loop_goes_on_while_one_is_decoded_and_others_wait_for_their_turn() -> None:
    thread, gate, running, most = DecodeThread(), threading.Event(), list[bytes](), list[int]()
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def decode(value: bytes | None) -> bytes:
        assert value is not None
        running.append(value)
        most.append(len(running))
        loop.call_soon_threadsafe(begun.set)
        gate.wait(10)
        running.remove(value)
        return value

    reads = [asyncio.ensure_future(thread.read(decode, b"%d" % n)) for n in range(5)]
    await begun.wait()  # the loop turns, although a decoder stands still
    gate.set()
    assert await asyncio.gather(*reads) == [b"0", b"1", b"2", b"3", b"4"]
    assert most == [1] * 5


async def test_what_a_decoder_raises_is_raised_and_no_thread_is_left() -> None:
    threads: list[threading.Thread] = []

    def refuse(value: bytes | None) -> None:
        threads.append(threading.current_thread())
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await DecodeThread().read(refuse, b"")
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
