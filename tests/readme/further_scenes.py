"""What the Python of further pages does; `python -m tests.readme.further_scenes NAME` plays one of any."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

from tests.readme.scenes import SCENES, Stage, header, main, played, scene, user

__all__ = ["SCENES"]


@scene("def test_an_order_is_paid() -> None:", "alone")
async def front_page(main: Any) -> None:
    await main.test_an_order_is_paid()
    async with played(main) as stage:
        (await stage.http.post("/orders", json={"OrderId": 7, "Amount": "9.90"})).raise_for_status()
        await stage.bench.settle()
        assert stage.bench.records("order.placed")[0].key == b"7"
    assert stage.said == ["took 9.90 for order 7"]


@scene("count_by_key")
async def deliveries_of_a_batch(main: Any) -> None:
    async with played(main) as stage:
        await main.bus.publish_many("user.created", [user(main, 1), user(main, 2)], key="a")
        await stage.bench.settle()
    counted = [line for line in stage.said if line.startswith("counted")]
    assert counted == ["counted 1 b'a' 0", "counted 2 b'a' 1"]


async def welcomed(stage: Stage, topic: str) -> dict[str, Any]:
    """What a publish wrote, after it was handled."""
    await stage.bench.settle()
    assert stage.said == ["welcome ada@example.com"]
    (record,) = stage.bench.records(topic)
    assert record.key == b"1"
    assert header(record, "content-type") == "application/json"
    return json.loads(record.value or b"")  # type: ignore[no-any-return]


OF_OTHERS = b'{"user_id":2,"email":"bob@example.com"}'
"""A message as FastStream, and most code around aiokafka, writes it."""


@scene("# no ConvexMessage: names on the wire stay", "alone")
async def instead_of_faststream(main: Any) -> None:
    await instead_of_another_client(main)


@scene("# KAFKA_CONSUMER_GROUP=users", "alone")
async def instead_of_aiokafka(main: Any) -> None:
    await instead_of_another_client(main)


async def instead_of_another_client(main: Any) -> None:
    async with played(main) as stage:
        assert (await stage.http.post("/users", params={"email": "ada@example.com"})).status_code == 201
        written = await welcomed(stage, "user.created")
        assert written == {"user_id": 1, "email": "ada@example.com"}
        assert stage.bench.records("user.created")[0].topic == "user.created"
        await main.bus.publish("user.created", OF_OTHERS, key="2", headers={"correlation_id": "c-1"})
        await stage.bench.settle()
        assert stage.said[1:] == ["welcome bob@example.com"]


@scene("class UserCreated(ConvexMessage):                 # written", "alone")
async def instead_of_dotnet(main: Any) -> None:
    async with played(main) as stage:
        (await stage.http.post("/users", json={"email": "ada@example.com"})).raise_for_status()
        written = await welcomed(stage, "user.created")
    assert written == {"UserId": 1, "Email": "ada@example.com"}


@scene("MSKAuthTokenProvider", "alone")
async def token_of_a_cloud(main: Any) -> None:
    assert await main.get_token() == "signed for eu-north-1"


class MSKAuthTokenProvider:
    """Stands in for what AWS's package has of this name."""

    @staticmethod
    def generate_auth_token(region: str) -> tuple[str, int]:
        return f"signed for {region}", 900_000


def stand_in() -> None:
    """Before `main.py` imports it."""
    module = ModuleType("aws_msk_iam_sasl_signer")
    vars(module)["MSKAuthTokenProvider"] = MSKAuthTokenProvider
    sys.modules[module.__name__] = module


if __name__ == "__main__":
    stand_in()
    main(sys.argv[1:] or list(SCENES))
