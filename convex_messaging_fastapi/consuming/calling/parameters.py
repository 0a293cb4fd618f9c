"""The parameters of a callable with their annotations resolved, strings and local names included."""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType, NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from convex_messaging_fastapi.consuming.calling.callables import written_function_of
from convex_messaging_fastapi.errors import DeclarationError

UNSET = inspect.Parameter.empty

_IMPORT = "Import what it names at the top of the module, not only under `if TYPE_CHECKING:`"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `type` is its annotation without `Annotated` and `| None`.

    `notes` are what stands beside the type in `Annotated`, and the default value.
    """

    name: str
    kind: inspect._ParameterKind
    annotation: Any
    type: Any
    notes: tuple[Any, ...]
    has_default: bool


def parameters_of(function: Callable[..., Any], who: str) -> tuple[Parameter, ...]:
    """Raises `DeclarationError` where there is no signature or an annotation names nothing."""
    try:
        signature = inspect.signature(function)
    except NameError as error:  # from Python 3.14 on, where an annotation that is no string is code, too
        raise DeclarationError(f"the annotations of {who} cannot be resolved: {error}. {_IMPORT}") from error
    except Exception as error:
        raise DeclarationError(f"the parameters of {who} cannot be read: {error}") from error
    names = _names_around(function)
    return tuple(_parameter(raw, names, who) for raw in signature.parameters.values())


def _parameter(raw: inspect.Parameter, names: _Names, who: str) -> Parameter:
    annotation = _resolved(raw, names, who)
    has_default = raw.default is not UNSET
    notes = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return Parameter(
        name=raw.name,
        kind=raw.kind,
        annotation=annotation,
        type=bare(annotation),
        notes=(*notes, raw.default) if has_default else notes,
        has_default=has_default,
    )


def bare(annotation: Any) -> Any:
    """`X` of `Annotated[X, ...]`, of `X | None`, and of the one in the other."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        if len(members) == 1:
            return bare(members[0])
    return annotation


def _resolved(raw: inspect.Parameter, names: _Names, who: str) -> Any:
    if raw.annotation is UNSET:
        return UNSET

    def carrier() -> None: ...

    carrier.__annotations__ = {raw.name: raw.annotation}
    try:
        hints = get_type_hints(carrier, names.module, names.local, include_extras=True)
    except Exception as error:  # an annotation in a string is code, and may raise anything
        raise DeclarationError(
            f"the annotation {raw.annotation!r} of parameter {raw.name!r} of {who} cannot be resolved: "
            f"{error}. {_IMPORT}"
        ) from error
    return _without_alias(hints[raw.name])


def _without_alias(annotation: Any) -> Any:
    # `type Bus = Annotated[...]`; there are two classes of these (typing's and its backport's).
    while type(annotation).__name__ == "TypeAliasType":
        annotation = annotation.__value__
    return annotation


class _Names(NamedTuple):
    """Where the names in annotations are found."""

    module: dict[str, Any]
    local: dict[str, Any]


def _names_around(function: Callable[..., Any]) -> _Names:
    written = written_function_of(function)
    written = getattr(written, "__func__", written)
    local = {**_closure(written), **_scopes_on_the_stack(getattr(written, "__code__", None))}
    if (module := getattr(written, "__globals__", None)) is None:
        module = vars(sys.modules.get(getattr(written, "__module__", None) or "", builtins))
    return _Names(module, local)


def _scopes_on_the_stack(code: CodeType | None) -> dict[str, Any]:
    """The local names of the functions that `code` stands in, as far as they are running now.

    A handler declared inside a function may name classes of that function in its annotations;
    when these are strings nothing else knows them.
    """
    names: dict[str, Any] = {}
    frame = inspect.currentframe() if code is not None else None
    while frame is not None:
        if _contains(frame.f_code, code):
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def _contains(outer: CodeType, wanted: CodeType | None) -> bool:
    inner = (constant for constant in outer.co_consts if isinstance(constant, CodeType))
    return any(code is wanted or _contains(code, wanted) for code in inner)


def _closure(function: Any) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for cell_index, cell in enumerate(getattr(function, "__closure__", None) or ()):
        with suppress(ValueError):  # how Python says that a variable has no value yet
            names[function.__code__.co_freevars[cell_index]] = cell.cell_contents
    return names
