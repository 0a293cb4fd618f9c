"""One rule places handlers: each group has one worker, made for the first of them, whenever that comes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bus.support import memory_bus


@pytest.mark.parametrize("joins", [0, 1, 2, 3], ids=lambda joins: f"the last {joins} join later")
@pytest.mark.parametrize(
    "groups",
    [("bets", "bets", "bets"), ("bets", "audit", "bets"), ("audit", "bets", "payments")],
    ids=lambda groups: "-".join(groups),
)
async def test_handlers_of_a_group_share_one_worker_whenever_they_come(
    groups: tuple[str, ...], joins: int
) -> None:
    bus = memory_bus()
    declared, later = groups[: len(groups) - joins], groups[len(groups) - joins :]
    for number, group in enumerate(declared):
        bus.subscriber("placed", group=group, id=f"{number}")(handler())
    async with bus.test():
        for number, group in enumerate(later, len(declared)):
            await bus.subscribe("placed", handler(), group=group, id=f"{number}")
        workers = {
            worker.group: [each.id for each in worker.subscriptions] for worker in bus.status().workers
        }
    assert workers == {
        group: [f"{number}" for number, each in enumerate(groups) if each == group] for group in groups
    }


def handler() -> Any:
    async def handle(message: Any) -> None: ...

    return handle
