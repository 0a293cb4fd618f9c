"""A name whose type has to be guessed is told, with what is missing; `make build` asks pyright."""

from __future__ import annotations

from typing import Any

import pytest

from tools.public_types import NAME, guessed


def symbol(name: str, *, known: bool, exported: bool = True, said: str = "") -> dict[str, Any]:
    diagnostics = [{"message": said}] if said else []
    return {"name": name, "isExported": exported, "isTypeKnown": known, "diagnostics": diagnostics}


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (symbol(f"{NAME}.bus.MessageBus", known=True), []),
        (
            symbol(f"{NAME}.bus.x", known=False, said="Type is missing\n  and more"),
            [f"{NAME}.bus.x: Type is missing"],
        ),
        (symbol(f"{NAME}.bus.Bus", known=False), [f"{NAME}.bus.Bus: one of its members has no type"]),
        (symbol("pydantic.BaseModel", known=False, exported=False), []),
        (symbol(f"{NAME}.transport.kafka.engine.client.Client", known=False), []),
        (symbol(f"{NAME}.cli.family.Family", known=False), []),
    ],
    ids=[
        "known",
        "guessed",
        "guessed in a member",
        "of another package",
        "of aiokafka",
        "of the command line",
    ],
)
def test_every_exported_name_has_a_type_of_its_own(found: dict[str, Any], told: list[str]) -> None:
    assert list(guessed({"typeCompleteness": {"symbols": [found]}})) == told
