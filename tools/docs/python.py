"""The reference of Python, written from signatures and docstrings: a page for each module that users import.

Why no extension of the generator: those read the same docstrings, and bring a second generator that nobody
maintains. These pages are plain Markdown, so whoever reads `llms-full.txt` has them too.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

PACKAGE = "convex_messaging_fastapi"
MODULES = {
    "python.md": (PACKAGE, "Python: what a service imports"),
    "python-operations.md": (f"{PACKAGE}.operations", "Python: operations"),
    "python-asyncapi.md": (f"{PACKAGE}.asyncapi", "Python: AsyncAPI"),
}
_KEYWORDS = re.compile(r"^Keywords:\n((?: {4}.*(?:\n|$)|\n)+)", re.MULTILINE)
_WIDE = 100


class Field(NamedTuple):
    """One field of a value, and what the text below it says."""

    name: str
    annotation: str
    says: str


def pages() -> Iterator[tuple[str, str]]:
    """File name and text of each."""
    for file, (module, title) in MODULES.items():
        yield file, page(import_module(module), title)


def page(module: ModuleType, title: str) -> str:
    opening = (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")
    parts = [f"# {title}", f"From `{module.__name__}`. {opening}"]
    for name in names_of(module):
        parts.extend(_entry(name, getattr(module, name)))
    return "\n\n".join(part for part in parts if part) + "\n"


def names_of(module: ModuleType) -> list[str]:
    """What users may import: of the front door room by room, of another what it shows under its own name."""
    if module.__name__ == PACKAGE:
        return [name for names in vars(module)["_ROOMS"].values() for name in names]
    imports = (node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ImportFrom))
    return [alias.asname for node in imports for alias in node.names if alias.asname == alias.name]


def _entry(name: str, thing: Any) -> Iterator[str]:
    yield f"## {name}"
    if inspect.isclass(thing):
        yield from _class(name, thing)
    elif inspect.isfunction(thing):
        yield from _function(name, thing)
    else:
        yield _code(f"{name} = {str(thing).replace('typing.', '').replace(f'{PACKAGE}.', '')}")


def _class(name: str, thing: type) -> Iterator[str]:
    shown = {*import_module(PACKAGE).__all__, *vars(builtins)} - {"object"}
    bases = [base.__name__ for base in thing.__bases__ if base.__name__ in shown]
    yield _code(f"class {name}({', '.join(bases)})" if bases else f"class {name}")
    yield _prose(thing.__doc__)
    fields = [field for owner in reversed(_ours(thing)) for field in fields_of(owner)]
    yield "\n".join(
        f"* `{each.name}`: `{each.annotation}`{each.says and f'. {each.says}'}" for each in fields
    )
    for owner in _ours(thing):
        for method, member in _public(owner):
            yield f"### {name}.{method}"
            if isinstance(member, property):
                yield _code(f"{method}: {_annotation(member.fget)}")
                yield _prose(member.__doc__)
            else:
                yield from _function(method, getattr(thing, method))


def _function(name: str, function: Any) -> Iterator[str]:
    """A decorator may have added to the docstring; what it is around tells whether it is awaited."""
    awaited = "async " if inspect.iscoroutinefunction(inspect.unwrap(function)) else ""
    yield _code(f"{awaited}def {name}{_signature(function)}")
    yield _prose(function.__doc__)


def _ours(thing: type) -> list[type]:
    return [owner for owner in thing.__mro__ if owner.__module__.startswith(PACKAGE)]


def _public(owner: type) -> Iterator[tuple[str, Any]]:
    """In the order of the file; of a base class that is hidden, too: its verbs are those of what is shown."""
    for name, member in vars(owner).items():
        inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if name.startswith("_") or not inner.__doc__:
            continue
        if inspect.isfunction(inner) or isinstance(inner, property):
            yield name, member


def fields_of(owner: type) -> Iterator[Field]:
    """Of its own body, those that are public; a text right below one is what it says."""
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    except (OSError, TypeError, SyntaxError):
        return
    body = getattr(node, "body", [])
    for each, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.target.id[0] != "_":
            text = below.value if isinstance(below, ast.Expr) else None
            says = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""
            yield Field(each.target.id, ast.unparse(each.annotation), " ".join(says.split()))


def _signature(function: Any) -> str:
    """As it is written, without `self`."""
    parts, starred = [], False
    for each in inspect.signature(function).parameters.values():
        if each.name in ("self", "cls"):
            continue
        if each.kind is each.KEYWORD_ONLY and not starred:
            parts.append("*")
        starred = starred or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        stars = "*" * (each.kind is each.VAR_POSITIONAL) + "**" * (each.kind is each.VAR_KEYWORD)
        annotation = f": {each.annotation}" if each.annotation is not each.empty else ""
        default = f" = {each.default!r}" if each.default is not each.empty else ""
        parts.append(f"{stars}{each.name}{annotation}{default}")
    answer = _annotation(inspect.unwrap(function))
    line = f"({', '.join(parts)}) -> {answer}"
    return line if len(line) < _WIDE else "(\n    " + ",\n    ".join(parts) + f",\n) -> {answer}"


def _annotation(function: Any) -> str:
    return str(getattr(function, "__annotations__", {}).get("return", "Any"))


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _prose(doc: str | None) -> str:
    """A docstring as Markdown: its list of keywords becomes a list."""
    return _KEYWORDS.sub(lambda found: _listed(found[1]), inspect.cleandoc(doc or ""))


def _listed(lines: str) -> str:
    items = re.split(r"^(?=\w+: )", textwrap.dedent(lines), flags=re.MULTILINE)
    told = (item.partition(": ") for item in items if item.strip())
    return "\n".join(f"* `{name}`: {' '.join(says.split())}" for name, _, says in told) + "\n"
