"""A handler whose message's type cannot be read is named, whatever its type does when it is looked at."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict

from convex_messaging_fastapi.consuming.calling import compile_call
from convex_messaging_fastapi.errors import DeclarationError


class Opaque:
    """Nothing that pydantic knows."""


class Raising:
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        raise RuntimeError("not today")


class Forward(BaseModel):
    model_config = ConfigDict(defer_build=True)

    other: "Undefined"  # type: ignore[name-defined]  # noqa: F821, UP037


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, defer_build=True)

    inner: Raising


UNREADABLE: list[Any] = [
    Opaque,
    Raising,
    Holder,
    Forward,
    socket.socket,
    Callable[[int], int] | Opaque,
    list[Opaque],
    dict[str, Opaque],
    Opaque | None,
    Annotated[Opaque, "noted"],
    5,
    "Nowhere",
    "list[",
    "1 / 0",
]


def handler_of(annotation: Any) -> Callable[..., Any]:
    async def take_it(event: Any) -> None: ...

    take_it.__annotations__["event"] = annotation
    return take_it


@pytest.mark.parametrize("annotation", UNREADABLE, ids=str)
@pytest.mark.parametrize("batch", [False, True])
def test_the_refusal_names_the_handler(annotation: Any, batch: bool) -> None:
    if batch and isinstance(annotation, str):
        annotation = f"list[{annotation}]"
    elif batch:
        annotation = list[annotation]
    with pytest.raises(DeclarationError) as refused:
        compile_call(handler_of(annotation), batch=batch)
    assert "handler take_it" in str(refused.value)
