"""FastAPI's `Depends` markers, read once into a tree of what to call with what."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, get_args, get_origin

from fastapi import params

from convex_messaging_fastapi.consuming.calling.callables import Kind, kind_of, name_of
from convex_messaging_fastapi.consuming.calling.parameters import UNSET, Parameter, bare, parameters_of
from convex_messaging_fastapi.consuming.calling.refusals import (
    asks_for_connection,
    dependency_marker_of,
    is_a,
    refuse_login,
    refuse_unmarked,
    refuse_what_no_message_has,
)
from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.records import Delivery


class Supply(Enum):
    """What is there for the asking."""

    DELIVERY = "delivery"
    CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A callable whose value is supplied to another.

    `call` makes the value from the arguments, or the context manager that has it where `function` yields.
    """

    function: Callable[..., Any]
    call: Callable[..., Any]
    kind: Kind
    use_cache: bool
    arguments: Arguments


Source = Supply | Dependency
Arguments = tuple[tuple[str, Source], ...]
"""Names of parameters and where their values come from, in the order of the signature."""


def arguments_for(
    parameters: tuple[Parameter, ...], who: str, *, batch: bool, trail: tuple[Any, ...] = ()
) -> Arguments:
    """Where each parameter's value comes from; those left out keep their defaults.

    Raises `DeclarationError` for what no message can supply, here or further down.
    """
    sources = ((parameter, _source_of(parameter, who, batch, trail)) for parameter in parameters)
    return tuple((parameter.name, source) for parameter, source in sources if source is not None)


def dependency_on(
    function: Callable[..., Any],
    who: str,
    *,
    batch: bool,
    use_cache: bool = True,
    trail: tuple[Any, ...] = (),
) -> Dependency:
    """The tree below one dependency of `who`; `trail` are the callables that led to it."""
    its_name = f"dependency {name_of(function)} of {who}"
    if function in trail:
        raise DeclarationError(f"{its_name} depends on itself: break the circle")
    refuse_login(function, its_name)
    kind = kind_of(function)
    parameters = parameters_of(function, its_name)
    return Dependency(
        function=function,
        call=_callable_of(function, kind),
        kind=kind,
        use_cache=use_cache,
        arguments=arguments_for(parameters, its_name, batch=batch, trail=(*trail, function)),
    )


def asks_for_delivery(arguments: Arguments) -> bool:
    """A dependency counts as asking: what replaces it in `dependency_overrides` may ask."""
    return any(source is not Supply.CONNECTION for _, source in arguments)


def is_supplied(parameter: Parameter) -> bool:
    """Whether a value is there for it, so that it cannot be the message."""
    return (
        dependency_marker_of(parameter) is not None
        or asks_for_connection(parameter)
        or is_a(parameter.type, Delivery)
        or _is_deliveries(parameter.type)
    )


def _source_of(parameter: Parameter, who: str, batch: bool, trail: tuple[Any, ...]) -> Source | None:
    refuse_what_no_message_has(parameter, who)
    source = _marked_source(parameter, who, batch, trail) or _typed_source(parameter, who, batch)
    if source is None:
        refuse_unmarked(parameter, who)
    elif parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise DeclarationError(
            f"parameter {parameter.name!r} of {who} is supplied by name: take away the `/` after it"
        )
    return source


def _marked_source(parameter: Parameter, who: str, batch: bool, trail: tuple[Any, ...]) -> Dependency | None:
    marker = dependency_marker_of(parameter)
    if marker is None:
        return None
    return dependency_on(
        _dependency_of(marker, parameter, who), who, batch=batch, use_cache=marker.use_cache, trail=trail
    )


def _dependency_of(marker: params.Depends, parameter: Parameter, who: str) -> Callable[..., Any]:
    """What the marker names; `Depends()` names the type that it stands beside."""
    function = marker.dependency or parameter.type
    if function is UNSET or not callable(function):
        raise DeclarationError(
            f"parameter {parameter.name!r} of {who} depends on {marker.dependency!r}, which cannot be "
            "called: name a function or class in `Depends(...)`, without calling it"
        )
    if getattr(function, "__hash__", None) is None:
        raise DeclarationError(
            f"parameter {parameter.name!r} of {who} depends on {function!r}, which has no hash, and "
            "`dependency_overrides` looks dependencies up by it: depend on a function"
        )
    return function


def _typed_source(parameter: Parameter, who: str, batch: bool) -> Supply | None:
    if asks_for_connection(parameter):
        return Supply.CONNECTION
    is_list = _is_deliveries(parameter.type)
    if not is_list and not is_a(parameter.type, Delivery):
        return None
    if is_list != batch:
        raise DeclarationError(
            f"parameter {parameter.name!r} of {who}: annotate it with "
            + ("`list[Delivery]`, a batch has one for each message" if batch else "`Delivery`, there is one")
        )
    return Supply.DELIVERY


def _is_deliveries(annotation: Any) -> bool:
    return get_origin(annotation) is list and is_a(bare(get_args(annotation)[0]), Delivery)


def _callable_of(function: Callable[..., Any], kind: Kind) -> Callable[..., Any]:
    if kind is Kind.ASYNC_YIELD:
        return asynccontextmanager(function)
    if kind is Kind.SYNC_YIELD:
        return contextmanager(function)
    return function
