"""How one handler is called: everything about it that can be known before its first message."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from convex_messaging_fastapi.consuming.calling.call_context import CallContext
from convex_messaging_fastapi.consuming.calling.callables import Kind, innermost_of, kind_of, name_of
from convex_messaging_fastapi.consuming.calling.dependencies import (
    Arguments,
    arguments_for,
    asks_for_delivery,
    is_supplied,
)
from convex_messaging_fastapi.consuming.calling.parameters import UNSET, Parameter, parameters_of
from convex_messaging_fastapi.consuming.calling.refusals import refuse_what_no_message_has
from convex_messaging_fastapi.consuming.calling.supplying import Replacements, Supplier
from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.messages import Decoder, codec_for
from convex_messaging_fastapi.records import Delivery


@dataclass(frozen=True, slots=True)
class CallPlan:
    """A handler, compiled. `is_direct`: it is async and takes the message alone, so that
    `await plan.function(message)` is all of `call`. `decoder` makes the message of a record's value,
    of a batch one member. `message` is the annotation that it was made from, `Any` where there is none.
    """

    function: Callable[..., Any]
    is_direct: bool
    wants_delivery: bool
    decoder: Decoder
    message: Any
    _kind: Kind
    _arguments: Arguments = field(repr=False)
    _replacements: Replacements = field(repr=False, compare=False)

    def decode(self, value: bytes | None) -> Any:
        """The message of a record's value, within the default bounds; raises `DecodeError`."""
        return self.decoder.decode(value)

    async def call(
        self, message: Any, delivery: Delivery | list[Delivery] | None, call_context: CallContext
    ) -> None:
        """Make the dependencies, call the handler, leave the dependencies; raises what any of it raises.

        Where `wants_delivery` is false, `delivery` may be `None`. What runs in a thread cannot be
        interrupted: a cancelled call ends when that has ended, or at once when it is cancelled a
        second time or the threads are closed.
        """
        if self.is_direct:
            await self.function(message)
            return
        supplier = Supplier(delivery, call_context, self._replacements)
        try:
            await self._handle(message, supplier)
        except BaseException as error:
            await supplier.leave(error)
            raise
        await supplier.leave(None)

    async def _handle(self, message: Any, supplier: Supplier) -> None:
        arguments = await supplier.arguments(self._arguments)
        if self._kind is Kind.ASYNC:
            await self.function(message, **arguments)
            return
        answer = await supplier.in_thread(self.function, message, **arguments)
        if inspect.isawaitable(answer):
            # A lambda or undeclared wrapper around an async function: it has not run yet.
            await answer


def compile_call(handler: Callable[..., Any], *, batch: bool = False) -> CallPlan:
    """Read a handler's signature once, its dependencies' included.

    The first parameter is the message (`list[...]` in a batch); the others are filled by type
    (`Delivery`, `HTTPConnection`) or by `Depends`. Raises `DeclarationError`, with the sentence
    that fixes it, for anything that no message can supply.
    """
    who = f"handler {name_of(handler)}"
    kind = _kind_of_handler(handler, who)
    parameters = parameters_of(handler, who)
    _refuse_unbound_method(handler, parameters, who)
    annotation = _message_annotation(parameters, who, batch)
    arguments = arguments_for(parameters[1:], who, batch=batch)
    return CallPlan(
        function=handler,
        is_direct=kind is Kind.ASYNC and not arguments,
        wants_delivery=asks_for_delivery(arguments),
        decoder=_decoder_for(annotation, who),
        message=Any if annotation is UNSET else annotation,
        _kind=kind,
        _arguments=arguments,
        _replacements=Replacements(who, batch=batch),
    )


def _refuse_unbound_method(handler: Callable[..., Any], parameters: tuple[Parameter, ...], who: str) -> None:
    if _is_unbound_method(handler, parameters):
        raise DeclarationError(
            f"{who} is a method, and nothing supplies its {parameters[0].name!r}: make the object first, and "
            f"declare its bound method, as in bus.subscriber('topic')(service.{handler.__name__})"
        )


def _is_unbound_method(handler: Callable[..., Any], parameters: tuple[Parameter, ...]) -> bool:
    """Whether it was written in a class, and still takes the object before the message."""
    innermost = innermost_of(handler)
    if not inspect.isfunction(innermost) or isinstance(handler, staticmethod) or not parameters:
        return False
    if "." not in innermost.__qualname__.rpartition("<locals>.")[2]:
        return False
    first, *others = parameters
    if first.name in ("self", "cls"):
        return True
    # By another name: what has no type is not the message when what follows can only be the message.
    return first.annotation is UNSET and any(not (each.has_default or is_supplied(each)) for each in others)


def _decoder_for(annotation: Any, who: str) -> Decoder:
    try:
        return codec_for(annotation)
    except DeclarationError as error:
        raise DeclarationError(f"{who}: {error}") from error.__cause__
    except Exception as error:  # a type's own hooks may raise anything
        raise DeclarationError(
            f"{who}: messages of its type {annotation!r} cannot be read: {type(error).__name__}: {error}"
        ) from error


def _kind_of_handler(handler: Callable[..., Any], who: str) -> Kind:
    if inspect.isclass(handler):
        raise DeclarationError(f"{who} is a class, and calling it makes an object: give an instance of it")
    kind = kind_of(handler)
    if kind in (Kind.ASYNC_YIELD, Kind.SYNC_YIELD):
        raise DeclarationError(
            f"{who} has a `yield`, so calling it would run nothing: publish what it yields with the bus"
        )
    return kind


def _message_annotation(parameters: tuple[Parameter, ...], who: str, batch: bool) -> Any:
    """What the bytes of one record are to become."""
    if not parameters:
        raise DeclarationError(f"{who} takes no parameter: its first one is the message")
    first = parameters[0]
    if first.kind is inspect.Parameter.KEYWORD_ONLY:
        raise DeclarationError(f"{who} takes its parameters by name only: its first one is the message")
    refuse_what_no_message_has(first, who)
    if is_supplied(first):
        raise DeclarationError(
            f"the first parameter of {who}, {first.name!r}, is not a message: put the message before it"
        )
    return _member_annotation(first, who) if batch else first.annotation


def _member_annotation(first: Parameter, who: str) -> Any:
    if first.type in (UNSET, list):
        return UNSET
    if get_origin(first.type) is not list:
        raise DeclarationError(
            f"{who} handles batches: annotate {first.name!r} with `list[...]` of its messages' type"
        )
    return get_args(first.type)[0]
