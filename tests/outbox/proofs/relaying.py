"""`python -m tests.outbox.proofs.relaying` relays an outbox until SIGTERM; variables say which one."""

from __future__ import annotations

import asyncio
import os
import signal

from sqlalchemy.ext.asyncio import create_async_engine

from convex_messaging_fastapi import MessageBus, MessagingSettings
from convex_messaging_fastapi.outbox import Outbox
from tests.outbox.proofs.load import tables

READY = "relaying"


async def main() -> None:
    settings = MessagingSettings(
        bootstrap_servers=os.environ["PROOF_KAFKA"], topic_prefix=os.environ["PROOF_PREFIX"]
    )
    bus = MessageBus(settings)
    engine = create_async_engine(os.environ["PROOF_DATABASE"])
    Outbox(bus, engine, tables, lease_seconds=float(os.environ["PROOF_LEASE"]))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with bus:
        print(READY, flush=True)  # noqa: T201 - whoever started this waits for it
        await ended.wait()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
