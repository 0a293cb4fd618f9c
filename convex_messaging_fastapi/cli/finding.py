"""Which app a command is about, where that is said, and how it is loaded."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convex_messaging_fastapi.cli.exits import Ended, ExitCode

if TYPE_CHECKING:
    from convex_messaging_fastapi.bus import MessageBus

VARIABLE = "CONVEX_APP"

USUAL_FILES = ("main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py")
USUAL_NAMES = ("app", "api", "bus")

_HOW = f"name it by --app module:attribute, {VARIABLE}, or [tool.convex-messaging] app in pyproject.toml"


class Named(NamedTuple):
    """An app that somebody named. `where` tells who did, in a user's words."""

    app: str
    where: str
    is_for_us: bool
    """Whether it was named for this command line, and not for another program."""


def named_app(given: str | None, environment: Mapping[str, str], folder: Path) -> Named | None:
    """What the option, the variable or pyproject.toml says; `None` where none of them does."""
    if given:
        return Named(given, "--app", is_for_us=True)
    if variable := environment.get(VARIABLE):
        return Named(variable, VARIABLE, is_for_us=True)
    tools = _tools_of(folder / "pyproject.toml")
    for tool, key, is_for_us in (("convex-messaging", "app", True), ("fastapi", "entrypoint", False)):
        value = tools.get(tool, {}).get(key)
        if isinstance(value, str) and value:
            return Named(value, f"[tool.{tool}] {key} in pyproject.toml", is_for_us)
    return None


def usual_app(folder: Path) -> Path | None:
    """The file that most apps are in, where there is one."""
    return next((path for name in USUAL_FILES if (path := folder / name).is_file()), None)


class Found(NamedTuple):
    """A bus, and the app that includes its router, where it was found in one."""

    bus: MessageBus
    app: Any | None = None


def found_by(named: Named | None, folder: Path) -> Found:
    """Load the app and find its bus. Raises `Ended` that says what to change."""
    _find_modules_in(folder)
    if named is None:
        if (path := usual_app(folder)) is None:
            looked = ", ".join(USUAL_FILES)
            raise Ended(ExitCode.USAGE, f"no app was found: {_HOW}. There is none of {looked} here")
        return _usual_bus(path, folder)
    module_name, _, attribute = named.app.partition(":")
    module = _load(module_name, named.where)
    if not attribute:
        return _bus_in(module, f"{named.app} ({named.where})")
    return _bus(_attribute(module, attribute, named), f"{named.app} ({named.where})")


def attribute_named(text: str, folder: Path) -> Any:
    """What an argument `module:attribute` names. Raises `Ended` that says what to change."""
    _find_modules_in(folder)
    module, _, path = text.partition(":")
    if not path:
        raise Ended(ExitCode.USAGE, f"name it as module:attribute, as in app:outbox, not {text}")
    return _attribute(_load(module, "the argument"), path, Named(text, "the argument", is_for_us=True))


def _find_modules_in(folder: Path) -> None:
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))


def _tools_of(path: Path) -> dict[str, Any]:
    try:
        tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Ended(ExitCode.USAGE, f"{path} cannot be read: {error}") from None
    return {name: tool for name, tool in tools.items() if isinstance(tool, dict)}


def _usual_bus(path: Path, folder: Path) -> Found:
    name = ".".join(path.relative_to(folder).with_suffix("").parts)
    return _bus_in(_load(name, f"found as {path.relative_to(folder)}"), f"{name} ({path})")


def _load(name: str, where: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise Ended(
                ExitCode.USAGE, f"{name} ({where}) needs the module {error.name}: install it"
            ) from error
        raise Ended(
            ExitCode.USAGE,
            f"there is no module {name} ({where}) in {Path.cwd()} or on Python's path: give --app-dir, "
            "the folder that it is in",
        ) from None
    except Exception as error:
        raise Ended(
            ExitCode.USAGE, f"{name} ({where}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def _attribute(module: Any, path: str, named: Named) -> Any:
    found = module
    for name in path.split("."):
        if not hasattr(found, name):
            raise Ended(ExitCode.USAGE, f"{named.app} ({named.where}): {found!r} has no attribute {name!r}")
        found = getattr(found, name)
    return found


def _bus_in(module: Any, what: str) -> Found:
    """Of a module that was named alone: by the usual names first, then whatever in it is an app or a bus."""
    values = [*(getattr(module, name, None) for name in USUAL_NAMES), *vars(module).values()]
    for value in values:
        if buses := _found_in(value):
            return _the_only(buses, what)
    raise Ended(
        ExitCode.USAGE, f"{what} holds no app that includes a MessagingRouter, and no MessageBus: {_HOW}"
    )


def _bus(found: Any, what: str) -> Found:
    if buses := _found_in(found):
        return _the_only(buses, what)
    if callable(found) and not hasattr(found, "routes"):
        return _made_by(found, what)
    raise Ended(
        ExitCode.USAGE,
        f"{what} is {type(found).__name__}, which has no message bus: name a FastAPI app that includes a "
        "MessagingRouter, a MessageBus, or a function that makes one of them",
    )


def _made_by(factory: Callable[[], Any], what: str) -> Found:
    try:
        made = factory()
    except Exception as error:
        raise Ended(ExitCode.USAGE, f"{what} failed: {type(error).__name__}: {error}") from error
    if buses := _found_in(made):
        return _the_only(buses, what)
    raise Ended(ExitCode.USAGE, f"{what} makes {type(made).__name__}, which has no message bus")


def _the_only(found: list[Found], what: str) -> Found:
    if len(found) > 1:
        raise Ended(
            ExitCode.USAGE,
            f"{what} has {len(found)} message buses: name the one you mean, as in --app main:bus",
        )
    return found[0]


def _found_in(value: Any) -> list[Found]:
    from convex_messaging_fastapi.bus import MessageBus

    if isinstance(value, MessageBus):
        return [Found(value)]
    routes = getattr(value, "routes", None)
    if not isinstance(routes, list):
        return []
    from convex_messaging_fastapi.plugin.health import probes_among

    buses = {id(probes.bus): probes.bus for _, probes in probes_among(routes)}.values()
    return [Found(bus, value if hasattr(value, "router") else None) for bus in buses]
