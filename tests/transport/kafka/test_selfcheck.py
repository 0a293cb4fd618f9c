"""An engine that lacks what is relied on is refused by name, before anything is loaded that relies on it."""

from __future__ import annotations

import ast
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiokafka.cluster
import aiokafka.conn
import pytest
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.producer.message_accumulator import BatchBuilder

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.transport.kafka import selfcheck
from convex_messaging_fastapi.transport.kafka.selfcheck import check_engine
from tests.support.fresh import Fresh

ROOT = Path(__file__).parents[3]
ROOMS = ROOT / "convex_messaging_fastapi" / "transport" / "kafka"


def test_the_installed_engine_is_known() -> None:
    check_engine()


def test_a_method_with_other_parameters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "aiokafka:AIOKafkaConsumer.commit"
    monkeypatch.setitem(selfcheck._PARAMETERS, path, "self everything")
    with pytest.raises(ConfigurationError, match=r"commit\('self', 'everything'\)\. Install aiokafka>="):
        check_engine()


def test_an_attribute_that_is_no_longer_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(selfcheck._SET_BY_CONSTRUCTOR, "aiokafka:AIOKafkaProducer", "_gone")
    with pytest.raises(ConfigurationError, match=r"aiokafka .* lacks AIOKafkaProducer\._gone"):
        check_engine()


def test_a_property_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "aiokafka.consumer.subscription_state:SubscriptionState"
    monkeypatch.setitem(selfcheck._PROPERTIES, path, "gone")
    with pytest.raises(ConfigurationError, match=r"SubscriptionState\.gone"):
        check_engine()


def test_an_engine_that_names_its_batch_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "aiokafka.consumer.fetcher:PartitionRecords._unpack_records"
    monkeypatch.setitem(selfcheck._LOCALS, path, "gone")
    with pytest.raises(ConfigurationError, match=r"PartitionRecords\._unpack_records: gone"):
        check_engine()


def test_a_constructor_that_wants_more_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(BatchBuilder):  # type: ignore[misc]
        def __init__(self, size: int, codec: int, magic: int) -> None:
            self._builder = self._relative_offset = None

    monkeypatch.setattr("aiokafka.producer.message_accumulator.BatchBuilder", Other)
    with pytest.raises(ConfigurationError, match=r"lacks BatchBuilder\(_, _\)\. Install"):
        check_engine()


def test_everything_that_is_missing_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class stands for all that was in it, and a module for its classes."""
    monkeypatch.delattr(aiokafka.conn, "AIOKafkaConnection")
    monkeypatch.delattr(Fetcher, "_create_fetch_waiter")
    monkeypatch.setitem(sys.modules, "aiokafka.consumer.subscription_state", None)
    with pytest.raises(ConfigurationError) as refused:
        check_engine()
    _, lacking = str(refused.value).split("it lacks ")
    assert lacking == (
        "Fetcher._create_fetch_waiter, aiokafka.conn.AIOKafkaConnection, "
        "aiokafka.consumer.subscription_state. Install aiokafka>=0.14,<0.15."
    )


def test_what_the_engine_itself_lacks_is_not_called_another_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "async_timeout", None)
    monkeypatch.setitem(selfcheck._TAKEN, "async_timeout", "timeout")
    with pytest.raises(ModuleNotFoundError, match="async_timeout"):
        check_engine()


# The table is as long as it must be.


def taken() -> dict[str, set[str]]:
    """What the rooms import from the engine, and what they take from a module of it that they import."""
    found = defaultdict[str, set[str]](set)
    for path in ROOMS.rglob("*.py"):
        tree = ast.parse(path.read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules = {}
        for node in imports:
            if (node.module or "").partition(".")[0] == "aiokafka":
                for alias in node.names:
                    if inspect.ismodule(getattr(sys.modules[str(node.module)], alias.name)):
                        modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                    else:
                        found[str(node.module)].add(alias.name)
        for module, name in _attributes(tree, modules):
            found[module].add(name)
    return dict(found)


def _attributes(tree: ast.Module, modules: dict[str, str]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def test_every_name_that_is_taken_from_the_engine_is_looked_for_and_no_other() -> None:
    looked_for = {
        module: {name.partition(".")[0] for name in names.split()}
        for module, names in selfcheck._TAKEN.items()
    }
    looked_for["aiokafka.codec"].discard("gzip_decode")  # by its name among the codecs
    assert looked_for == taken()


def test_the_check_itself_takes_nothing_from_the_engine() -> None:
    tree = ast.parse((ROOMS / "selfcheck.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert not [module for module in imported if (module or "").startswith("aiokafka")]


# Another version of the engine, in a process of its own.

SERVICE = """
import asyncio
from convex_messaging_fastapi import ConfigurationError, MessageBus, MessagingSettings

async def serve(where: str) -> None:
    bus = MessageBus(MessagingSettings(bootstrap_servers=where))
    handled = asyncio.Event()

    @bus.subscriber("orders")
    async def handle(order: dict) -> None:
        handled.set()

    async with bus:
        await bus.publish("orders", {"id": 7})
        await asyncio.wait_for(handled.wait(), 20)
        print("handled by", where)

for where in ("localhost:1", "localhost:1", "memory://"):
    try:
        asyncio.run(serve(where))
    except ConfigurationError as error:
        print(error)
"""


def _removed() -> None:
    from aiokafka.consumer.fetcher import Fetcher

    del Fetcher._create_fetch_waiter


def _moved() -> None:
    from aiokafka import cluster

    del cluster.ClusterMetadata


def _renamed() -> None:
    from aiokafka.client import AIOKafkaClient

    async def send(self: Any, node_id: Any, question: Any, *, group: Any = None) -> None: ...

    AIOKafkaClient.send = send


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        (_removed, "Fetcher._create_fetch_waiter"),
        (_moved, "aiokafka.cluster.ClusterMetadata"),
        (_renamed, "AIOKafkaClient.send('self', 'node_id', 'request', 'group')"),
    ],
    ids=["a method removed", "a class moved", "a parameter renamed"],
)
def test_another_engine_is_refused_with_one_sentence_and_memory_goes_on(
    change: Any, lacking: str, fresh: Fresh, tmp_path: Path
) -> None:
    program = "\n".join(
        [
            "import aiokafka",
            "from typing import Any",
            inspect.getsource(change),
            f"{change.__name__}()",
            SERVICE,
        ]
    )
    ended = fresh.run(program, tmp_path)
    assert ended.code == 0, ended.err
    sentence = (
        f"aiokafka {aiokafka.__version__} is not an engine that this version of convex-messaging-fastapi "
        f"knows: it lacks {lacking}. Install aiokafka>=0.14,<0.15."
    )
    assert ended.out.splitlines() == [sentence, sentence, "handled by memory://"]
