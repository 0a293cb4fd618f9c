"""The base of typed messages that .NET services read and write too."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic.alias_generators import to_pascal
from pydantic_core import core_schema

from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.messages.decimals import AS_NUMBERS, restored
from convex_messaging_fastapi.messages.marking import mark_decimals
from convex_messaging_fastapi.messages.secret_fields import MENDED_BY, secret_in


class ConvexMessage(BaseModel):
    """A message whose JSON is the one that .NET services write.

    Names are written in PascalCase (`UserId`) and read in PascalCase or as they are here; unknown
    fields are ignored. A `Decimal` is a JSON number with its digits intact (`100.00`). Times are
    ISO 8601: UTC ends in `Z`, other offsets are written out, a time without one stays without.
    NaN and infinities are refused, and so are numbers of more than 400 digits or with an exponent
    beyond 400, both when it is written and when it is read.

        class BetPlaced(ConvexMessage):
            bet_id: int
            stake: Decimal

    A field that holds a secret (`SecretStr`) and has no serialiser of its own is a `DeclarationError`:
    stars would be written. Models of other kinds inside it keep their own names and encoding.
    `model_dump_json` gives what goes on the wire; `model_validate_json` is pydantic's own, which reads
    a number into a `Decimal` by way of a float, as handlers do not.
    """

    model_config = ConfigDict(
        alias_generator=to_pascal,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        extra="ignore",
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
    )

    def model_dump_json(self, **options: Any) -> str:
        """What goes on the wire, with the options of pydantic's own."""
        context = options.pop("context", None)
        if context is None or isinstance(context, dict):
            context = {**(context or {}), **AS_NUMBERS}
        return restored(super().model_dump_json(context=context, **options).encode()).decode()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        schema = handler(source)
        if secret_in(schema, handler.resolve_ref_schema):
            raise DeclarationError(f"{cls.__name__} has a field that holds a secret: {MENDED_BY}")
        mark_decimals(handler.resolve_ref_schema(schema), handler.resolve_ref_schema)
        return schema
