"""Chooses the member of a union by the `message-type` header of a record.

Models with the same fields cannot be told apart by them: pydantic takes the first that fits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, Discriminator
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.messages.headers import MESSAGE_TYPE
from convex_messaging_fastapi.messages.message_types import bare_name, names_read
from convex_messaging_fastapi.records import Headers, header_text


class Choice(NamedTuple):
    """`members` are annotations by their names in the header; `others` are those that have no name."""

    members: Mapping[str, Any]
    others: tuple[Any, ...]


def choice_of(annotation: Any) -> Choice | None:
    """What a header may choose from; `None` if fewer than two members have names.

    Also `None` if a discriminator tells them apart. Raises `DeclarationError` for two members of one name.
    """
    members = list(members_of(annotation))
    if any(_has_discriminator(metadata) for _, metadata in members):
        return None
    named = [(kind, metadata) for kind, metadata in members if class_of(kind) is not None]
    if len(named) < 2:
        return None
    takes_null = any(kind is NoneType for kind, _ in members)
    by_name: dict[str, Any] = {}
    for kind, metadata in named:
        for name in names_read(class_of(kind) or NoneType):
            if name in by_name:
                raise DeclarationError(
                    f"two members of {annotation} are called {name!r} in the message-type header: give one "
                    "another name (class Shipped(ConvexMessage, message_type=...)), or tell them apart by a "
                    "discriminator"
                )
            by_name[name] = annotated(kind | None if takes_null else kind, metadata)
    others = [annotated(*member) for member in members if member not in named and member[0] is not NoneType]
    return Choice(by_name, tuple(others))


def named_type(headers: Headers) -> str | None:
    """The bare name in the `message-type` header; `None` without a header, or with an empty one."""
    return bare_name(header_text(headers, MESSAGE_TYPE) or "") or None


def union_of(annotations: Iterable[Any]) -> Any:
    return Union[tuple(annotations)]  # noqa: UP007 - their number is not known here


def opened(annotation: Any) -> Any:
    """What an alias stands for: `type Event = Shipped | Cancelled`."""
    while get_origin(annotation) is None and hasattr(annotation, "__value__"):
        annotation = annotation.__value__
    return annotation


def members_of(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterable[tuple[Any, tuple[Any, ...]]]:
    """The members of a union and of unions and aliases inside it, each with the annotations around it."""
    annotation = opened(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *own = get_args(annotation)
        return members_of(inner, (*own, *metadata))
    if origin in (Union, UnionType):
        return [member for one in get_args(annotation) for member in members_of(one, metadata)]
    return [(annotation, metadata)]


def annotated(kind: Any, metadata: tuple[Any, ...]) -> Any:
    return Annotated[(kind, *metadata)] if metadata else kind


def _has_discriminator(metadata: tuple[Any, ...]) -> bool:
    return any(
        isinstance(one, Discriminator) or (isinstance(one, FieldInfo) and one.discriminator is not None)
        for one in metadata
    )


def class_of(kind: Any) -> type | None:
    """The model, dataclass or `TypedDict`; of a generic one with arguments the one that was written."""
    written = get_origin(kind) or kind
    if not isinstance(written, type):
        return None
    is_model = issubclass(written, BaseModel) or dataclasses.is_dataclass(written) or is_typeddict(written)
    return written if is_model else None
