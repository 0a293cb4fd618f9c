"""The base of typed messages that .NET services read and write too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic.alias_generators import to_pascal
from pydantic_core import core_schema

from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.messages.decimals import AS_NUMBERS, restored
from convex_messaging_fastapi.messages.marking import mark_fields
from convex_messaging_fastapi.messages.message_types import ATTRIBUTE, WireNames, bare_name
from convex_messaging_fastapi.messages.secret_fields import MENDED_BY, secret_in
from convex_messaging_fastapi.messages.spelling import Spelling


class ConvexMessage(BaseModel):
    """A message whose JSON is the one that .NET services write.

        class BetPlaced(ConvexMessage, message_type="BetPlacedV2", reads=("BetPlaced",)):
            bet_id: int
            stake: Decimal

    `message_type` is what the `message-type` header calls it, by default the class's name without
    generic arguments; `reads` are other names that mean it. Neither is inherited.

    Names are written in PascalCase (`UserId`) and read in PascalCase, camelCase or snake_case, of
    which the first wins over the second and that over the third; unknown fields are ignored. An
    alias, or a generator of a subclass's own, is used instead of these spellings, beside the field's
    own name. Two fields that one name would be read into are a `DeclarationError`.

    What it encodes it decodes to the same value, for fields of these types:

        str                        text
        bool                       true or false
        int                        a number
        float                      a number
        Decimal                    a number with its digits intact: 100.00
        bytes                      base64 in the standard alphabet: "AQID/w=="
        timedelta                  as .NET writes it, "1.02:03:04.5000000"; ISO 8601 and seconds are read too
        datetime                   ISO 8601, "2026-01-01T00:00:00Z": an offset is written out, none stays none
        date                       ISO 8601
        time                       ISO 8601
        UUID                       text
        Enum                       its value, which is text or a whole number
        Literal                    itself, which is text, a whole number, true or false
        NamedTuple                 an array
        TypedDict                  an object
        dataclass                  an object
        BaseModel                  an object, of pydantic's own encoding
        ConvexMessage              an object
        list[T]                    an array
        set[T]                     an array
        frozenset[T]               an array
        deque[T]                   an array
        tuple[T, ...]              an array
        tuple[T, U]                an array
        dict[K, T]                 an object; K is one of the first twelve types, written as text
        T | None                   null, or as T
        T | U                      as T or as U, where JSON tells them apart: an int and a text, for instance

    Of anything else pydantic decides: values in an `Any`, and in extra fields, come back as JSON has
    them. Fields with a serialiser of their own, `pydantic.Base64Bytes`, and models that are no
    `ConvexMessage` keep their own encoding.

    Refused with `EncodeError` is what could not come back: NaN and infinities, numbers of more than 400
    digits or with an exponent beyond 400, a duration beyond .NET's TimeSpan, an offset from UTC that
    has seconds, and a value whose class is a subclass of its field's model. A field that holds a
    secret (`SecretStr`) and has no serialiser of its own is a `DeclarationError`: stars would be
    written.

    `model_dump_json` gives what goes on the wire; `model_validate_json` is pydantic's own, which reads
    a number into a `Decimal` by way of a float, as handlers do not.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
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

    def __init_subclass__(
        cls, *, message_type: str | None = None, reads: Sequence[str] = (), **options: Unpack[ConfigDict]
    ) -> None:
        super().__init_subclass__(**options)
        setattr(cls, ATTRIBUTE, _wire_names(cls.__name__, message_type, reads))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        schema, resolve = handler(source), handler.resolve_ref_schema
        if secret_in(schema, resolve):
            raise DeclarationError(f"{cls.__name__} has a field that holds a secret: {MENDED_BY}")
        spelling = Spelling(cls.__name__, cls.__pydantic_fields__, cls.model_config)
        mark_fields(resolve(schema), resolve, cls.model_config, spelling.respell)
        return schema


setattr(ConvexMessage, ATTRIBUTE, WireNames())


def _wire_names(model: str, message_type: Any, reads: Any) -> WireNames:
    given = () if message_type is None else (message_type,)
    if not isinstance(reads, tuple | list) or not all(map(_is_name, (*given, *reads))):
        raise DeclarationError(
            f"class {model} is given message_type={message_type!r} and reads={reads!r}: the first is what "
            "its messages are called on the wire, the second a tuple of earlier names, such as "
            '("ShippedV1",)'
        )
    return WireNames(message_type, tuple(reads))


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(bare_name(name))
