"""A proof on a real PostgreSQL and a real Kafka. Its seed and what the witness saw are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.outbox.proofs.harness import Proof
from tests.support.databases import Database
from tools.kafka.cluster import Cluster


@pytest.fixture
async def proof(kafka: Cluster, postgres: Database, unique: str, tmp_path: Path) -> AsyncIterator[Proof]:
    proof = Proof(kafka, postgres.async_url, f"{unique}-booked", tmp_path)
    await proof.begin()
    yield proof
    await proof.end()
