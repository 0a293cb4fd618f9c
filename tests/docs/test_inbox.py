"""The program of the inbox's page handles a message once, by `inbox.session` and by `inbox.claim`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.programs import program_of


async def balances(main: Any) -> dict[int, int]:
    async with main.sessions() as db:
        return {id: (await db.get_one(main.Account, id)).balance for id in (0, 1)}


async def test_a_repeat_is_settled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "memory://")
    main = program_of("inbox.md", tmp_path, monkeypatch)
    async with main.lifespan(main.app):
        async with main.sessions.begin() as db:
            db.add_all([main.Account(id=0, balance=0), main.Account(id=1, balance=100)])
        await main.test_a_repeat_is_settled_once()
        assert await balances(main) == {0: 10, 1: 90}
