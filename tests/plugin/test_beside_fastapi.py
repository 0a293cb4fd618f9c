"""What FastAPI itself does around a bus: background tasks, bodies and responses, the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI
from pydantic import RootModel

from convex_messaging_fastapi import Bus, ConvexMessage, MessageBus, MessagingRouter
from tests.plugin.calls import MEMORY, call


class BetPlaced(ConvexMessage):
    bet_id: int
    display_name: str
    stake: Decimal


class Ids(RootModel[list[int]]): ...


@pytest.fixture
def bus() -> MessageBus:
    return MessageBus(MEMORY)


@pytest.fixture
def app(bus: MessageBus) -> FastAPI:
    app = FastAPI()
    app.include_router(MessagingRouter(bus))
    return app


@pytest.mark.parametrize("verb", ["publish", "publish_sync"])
async def test_a_background_task_publishes(bus: MessageBus, app: FastAPI, verb: str) -> None:
    @app.post("/bets")
    async def place(bus: Bus, later: BackgroundTasks) -> str:
        later.add_task(getattr(bus, verb), "bet.placed", {"bet_id": 1}, key="ada")
        return "soon"

    async with bus.test(app) as t:
        assert (await call(app, "/bets", "POST")).json() == "soon"
        assert t.published("bet.placed") == [{"bet_id": 1}]
        assert t.records("bet.placed")[0].key == b"ada"


async def test_a_root_model_comes_back_as_one(bus: MessageBus) -> None:
    @bus.subscriber("ids")
    async def handle(ids: Ids) -> None: ...

    async with bus.test() as t:
        await bus.publish("ids", Ids([1, 2]))
        await t.settle()
        assert t.published("ids") == [[1, 2]]
        assert t.handled(handle) == [Ids([1, 2])]


async def test_a_message_is_a_body_and_a_response(bus: MessageBus, app: FastAPI) -> None:
    @app.post("/bets")
    async def place(bet: BetPlaced, bus: Bus) -> BetPlaced:
        await bus.publish("bet.placed", bet)
        return bet

    sent = {"BetId": 1, "DisplayName": "Ada", "Stake": "1.50"}
    async with bus.test(app) as t:
        answer = await call(app, "/bets", "POST", json=sent)
        assert answer.status_code == 200
        assert {name: str(value) for name, value in answer.json().items()} == {
            "BetId": "1",
            "DisplayName": "Ada",
            "Stake": "1.50",
        }
        assert t.records("bet.placed")[0].value == b'{"BetId":1,"DisplayName":"Ada","Stake":1.50}'


async def test_the_openapi_document_shows_the_names_of_the_wire_and_no_probes(
    bus: MessageBus,
) -> None:
    app = FastAPI()
    app.include_router(MessagingRouter(bus), prefix="/v1")

    @app.post("/bets")
    async def place(bet: BetPlaced) -> BetPlaced:
        return bet

    document = (await call(app, "/openapi.json")).json()
    assert set(document["paths"]) == {"/bets"}
    schemas = document["components"]["schemas"]
    properties = [set(schemas[name]["properties"]) for name in schemas if name.startswith("BetPlaced")]
    assert properties
    assert all(names == {"BetId", "DisplayName", "Stake"} for names in properties)
    assert set(referred_to(document["paths"])) & set(schemas)


def referred_to(part: Any) -> Iterator[str]:
    """The names of the schemas that a part of the document refers to."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for each in part.values():
            yield from referred_to(each)
    elif isinstance(part, list):
        for each in part:
            yield from referred_to(each)
