"""Reading goes on behind a batch that cannot be read, where somebody says so, and not otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Fetched, Unreadable
from convex_messaging_fastapi.transport.kafka.engine import partition_reader
from tests.transport.kafka.bench import Bench, Reader

FIRST, SECOND = TopicPartition("orders", 0), TopicPartition("orders", 1)
AT_ONCE = {"unreadable_seconds": 0.2, "partition_pause_seconds": 0.05}


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Values that the engine cannot unpack."""
    values, unpack = {b"poison"}, partition_reader._record

    def failing(where: Any, record: Any) -> Any:
        if bytes(record.value) in values:
            raise ValueError("cannot be unpacked")
        return unpack(where, record)

    monkeypatch.setattr(partition_reader, "_record", failing)
    return values


async def given_up(reader: Reader) -> Fetched:
    """The first fetch that tells of a batch."""
    fetches: list[Fetched] = []

    async def one() -> bool:
        fetches.append(await reader.fetch(0.05))
        return bool(fetches[-1].unreadable)

    while not await one():
        assert len(fetches) < 200, reader.consumer.contact()
    return fetches[-1]


async def planted(bench: Bench) -> Reader:
    await bench.write(b"a", b"b")
    await bench.write(b"c", b"poison", b"d")
    await bench.write(b"e")
    await bench.write(b"x", partition=1)
    return await bench.reader(tuning=AT_ONCE)


@pytest.mark.usefixtures("poison")
async def test_what_stands_behind_is_read_and_the_loss_is_told(bench: Bench) -> None:
    reader = await planted(bench)
    fetched = await given_up(reader)
    (batch,) = fetched.unreadable.values()
    assert [*fetched.unreadable] == [FIRST]
    assert (batch.span, batch.error) == ((2, 5), "ValueError")
    assert batch.tries >= 3
    assert "cannot be unpacked" in batch.why
    assert "to skip" not in batch.why, "nobody needs to do anything"
    assert (reader.consumer.contact().lost, reader.positions[FIRST]) == (0, 2)

    reader.consumer.pass_over(fetched.epoch, FIRST, batch)
    assert sorted(value or b"" for value in await reader.read(4)) == [b"a", b"b", b"e", b"x"]
    assert reader.positions == {FIRST: 6, SECOND: 1}
    contact = reader.consumer.contact()
    assert (contact.problem, contact.lost) == (None, 3)
    (loss,) = contact.losses
    assert (loss.where, loss.from_offset, loss.to_offset, loss.records) == (FIRST, 2, 5, 3)
    assert "3 offsets could not be read and are passed over: 2..4" in loss.reason
    assert not (await reader.fetch()).unreadable


@pytest.mark.usefixtures("poison")
async def test_the_position_behind_the_last_batch_of_a_log_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing need come after it for the group to commit past it."""
    await bench.write(b"a", b"poison")
    reader = await bench.reader(tuning=AT_ONCE)
    fetched = await given_up(reader)
    reader.consumer.pass_over(fetched.epoch, FIRST, fetched.unreadable[FIRST])
    assert (await reader.fetch()).positions == {FIRST: 2}
    await reader.fetch()
    assert "cannot read orders/0 at 0" in caplog.text
    assert "cannot read orders/0 at 2" not in caplog.text, "it is not read again"


@pytest.mark.usefixtures("poison")
async def test_of_another_assignment_or_another_batch_nothing_is_passed_over(bench: Bench) -> None:
    reader = await planted(bench)
    fetched = await given_up(reader)
    batch = fetched.unreadable[FIRST]
    reader.consumer.pass_over(fetched.epoch - 1, FIRST, batch)
    reader.consumer.pass_over(fetched.epoch, FIRST, Unreadable(0, 5, batch.error, batch.why))
    reader.consumer.pass_over(fetched.epoch, SECOND, batch)
    assert [*(await given_up(reader)).unreadable] == [FIRST]
    assert (reader.positions[FIRST], reader.consumer.contact().lost) == (2, 0)


async def test_what_can_be_read_after_all_is_not_passed_over(bench: Bench, poison: set[bytes]) -> None:
    reader = await planted(bench)
    fetched = await given_up(reader)
    poison.clear()
    await reader.read(7)
    reader.consumer.pass_over(fetched.epoch, FIRST, fetched.unreadable[FIRST])
    assert not (await reader.fetch()).unreadable
    assert (reader.positions[FIRST], reader.consumer.contact().lost) == (6, 0)
