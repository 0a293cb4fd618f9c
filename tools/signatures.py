"""Writes what the front door shows, with every default, into a file: a changed one is seen in review.

python -m tools.signatures
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, ForwardRef, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import convex_messaging_fastapi

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "signatures.txt"
PACKAGE = convex_messaging_fastapi.__name__
LONG = 90


def written() -> str:
    """One line for every public name, and below a class one for each of its public members."""
    return "\n".join(line for name in convex_messaging_fastapi.__all__ for line in _lines(name)) + "\n"


def _lines(name: str) -> Iterator[str]:
    shown = getattr(convex_messaging_fastapi, name)
    if inspect.isclass(shown):
        yield f"class {name}{_made_with(shown)}"
        yield from (f"    {line}" for line in _members(shown))
    elif callable(shown) and inspect.isroutine(shown):
        yield _function(name, shown)
    elif get_origin(shown) is Literal:
        yield f"{name} = {' | '.join(map(repr, get_args(shown)))}"
    else:
        yield name


def _made_with(kind: type) -> str:
    if issubclass(kind, BaseModel | Enum):
        return f"({kind.__mro__[1].__name__})"
    makers = {"__init__", "__new__"} & {name for base in _ours(kind) for name in vars(base)}
    return _parameters(inspect.signature(kind)) if makers else ""


def _members(kind: type) -> Iterator[str]:
    if issubclass(kind, BaseModel):
        for name, field in sorted(kind.model_fields.items()):
            yield f"{name}: {'required' if field.is_required() else _field_default(field)}"
    for name in sorted(_own_names(kind)):
        member = inspect.getattr_static(kind, name)
        if isinstance(member, property):
            yield f"{name}: property"
        elif isinstance(member, classmethod | staticmethod) or inspect.isroutine(member):
            yield _function(name, getattr(kind, name))
        elif isinstance(member, bool | int | str):
            yield f"{name} = {member!r}"
        elif isinstance(member, Enum):
            yield f"{name} = {member.value!r}"


def _own_names(kind: type) -> set[str]:
    return {name for base in _ours(kind) for name in vars(base) if not name.startswith(("_", "model_"))}


def _ours(kind: type) -> list[type]:
    """The class and those above it, without what Starlette or pydantic wrote."""
    return [base for base in kind.__mro__ if base.__module__.partition(".")[0] == PACKAGE]


def _field_default(field: FieldInfo) -> str:
    return "<factory>" if field.default_factory is not None else _default(field.default)


def _function(name: str, function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    is_async = inspect.iscoroutinefunction(inspect.unwrap(function))
    answer = _type(signature.return_annotation)
    return f"{'async ' if is_async else ''}def {name}{_parameters(signature)} -> {answer}"


def _parameters(signature: inspect.Signature) -> str:
    plain = [
        parameter.replace(annotation=_Bare(_type(parameter.annotation)), default=_shown(parameter.default))
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    line = str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    if len(line) < LONG:
        return line
    # One to a line, so that a diff shows which of them has changed.
    told = [str(parameter) for parameter in plain]
    kinds = [parameter.kind for parameter in plain]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        told.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    return "(\n" + "".join(f"        {each},\n" for each in told) + "    )"


def _shown(default: Any) -> Any:
    return default if default is inspect.Parameter.empty else _Bare(_default(default))


def _default(value: Any) -> str:
    """As `repr`, without what is another in each process."""
    text = repr(value)
    return f"<{type(value).__name__}>" if " at 0x" in text else text


def _type(annotation: Any) -> str:
    """As it is written in the source: how Python shows a type changes from one version to the next."""
    if annotation is inspect.Signature.empty:
        return "?"
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


class _Bare:
    """Text that `str(signature)` shows without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(written())
