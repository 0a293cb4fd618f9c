"""Finds secrets that would be written as stars, so that the value would be lost silently."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic import Secret, SecretBytes, SecretStr, TypeAdapter

from convex_messaging_fastapi.messages.schema_walk import Resolve, Walk, serialiser_of, writes_as_it_likes

SECRETS = (SecretStr, SecretBytes, Secret)

MENDED_BY = (
    "it would be written as stars, and its value lost. Give the field a serialiser of its own "
    "(@field_serializer) that says what is to be written, or make it plain text if its readers may see it"
)


def secret_in(schema: Any, resolve: Resolve | None = None) -> bool:
    """Whether `schema` has a secret, at any depth, that is written as stars.

    `resolve` follows references; without it they are followed by the definitions in the schema itself.
    """
    nodes = Walk(resolve).below(schema, enters=lambda node: not writes_as_it_likes(node))
    return any(serialiser_of(node) in _writing_stars() for node in nodes)


@lru_cache(maxsize=1)
def _writing_stars() -> frozenset[Any]:
    """Pydantic's own serialisers of secrets, learnt from its schemas."""
    schemas = [TypeAdapter[Any](kind).core_schema for kind in (SecretStr, SecretBytes, Secret[int])]
    return frozenset(serialiser_of(node) for schema in schemas for node in Walk().below(schema)) - {None}
