"""The house rules that a machine can check: floors, sizes, the front door, and what no file may hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import convex_messaging_fastapi

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "convex_messaging_fastapi"
FRONT_DOOR = PACKAGE / "__init__.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LONGEST_FILE = 400
LONGEST_FUNCTION = 40
MOST_ATTRIBUTES = 12

SIMULATES_WORK = "# simulates work"
"""The mark of a sleep that stands for a handler's work, on its line; all other waiting is for events."""

ELSEWHERE = re.compile(
    r"(?<![\w.~])/(?:work|root|home|Users)/\w"  # a folder of somebody's machine
    r"|pypi\.org|pythonhosted|repo1?\.maven|npmjs|deb\.debian|crates\.io|proxy\.golang"  # an index host
)


IGNORED = (".git", *(ROOT / ".gitignore").read_text().replace("/\n", "\n").split())
"""Patterns of names, at any depth: all that our `.gitignore` needs, and so all it may hold."""


@cache
def files() -> tuple[Path, ...]:
    """Every file of the tree that is not ignored. git is not asked: an exported tree has none."""
    return tuple(sorted(_files_in(ROOT)))


def _files_in(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if any(path.match(pattern) for pattern in IGNORED):
            continue
        if path.is_dir():
            yield from _files_in(path)
        else:
            yield path


def test_what_is_ignored_is_said_by_name_alone() -> None:
    """So that this file and git ignore the same."""
    assert not [pattern for pattern in IGNORED if set(pattern) & set("/!#[")]


@cache
def text(path: Path) -> str:
    return path.read_text()


def python_files(folder: Path = ROOT) -> list[Path]:
    return [path for path in files() if path.suffix == ".py" and path.is_relative_to(folder)]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(text(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of a file of the package: many rules look through them."""
    return tuple(ast.walk(tree(path)))


def statements(parsed: ast.AST) -> Iterator[ast.stmt | ast.ExceptHandler | ast.match_case]:
    """At any depth. The expressions within them are nine nodes of ten, and nothing is imported there."""
    for node in ast.iter_child_nodes(parsed):
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield node
            yield from statements(node)


def named(path: Path, line: int | None = None) -> str:
    return str(path.relative_to(ROOT)) + (f":{line}" if line is not None else "")


CONSUMING, OPERATIONS = f"{PACKAGE.name}.consuming", f"{PACKAGE.name}.operations"


@pytest.mark.parametrize(
    "folder",
    [
        PACKAGE.name,
        f"{PACKAGE.name}.operations",
        f"{PACKAGE.name}.console",
        CONSUMING,
        *(f"{CONSUMING}.{wing}" for wing in ("calling", "dead_letters", "endings")),
    ],
)
def test_every_room_has_a_floor(folder: str) -> None:
    """A new one must be given one: `exhaustive` refuses it until then."""
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    floors = [each for each in contracts if each["type"] == "layers" and each["containers"] == [folder]]
    assert [each["exhaustive"] for each in floors] == [True]


def test_what_only_type_checkers_read_is_imported_downward_too() -> None:
    assert PROJECT["tool"]["importlinter"]["exclude_type_checking_imports"] is False


def test_rooms_open_doors_only_downward() -> None:
    """import-linter's contracts in pyproject.toml."""
    lint = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([lint, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


KAFKA = PACKAGE / "transport" / "kafka"
MOST_NAMES = 10


WINGS = sorted({path.parent for path in python_files(KAFKA)})


@pytest.mark.parametrize("wing", WINGS, ids=named)
def test_the_kafka_transport_shows_few_names_at_each_door(wing: Path) -> None:
    names = {path.relative_to(wing).parts[0] for path in python_files(wing)} - {"__init__.py"}
    assert len(names) <= MOST_NAMES, sorted(names)


@pytest.mark.parametrize("wing", [wing for wing in WINGS if wing != KAFKA], ids=named)
def test_a_wing_of_the_kafka_transport_is_entered_by_its_door(wing: Path) -> None:
    """Its `__init__.py` shows what others may take."""
    behind = re.compile(rf"{'.'.join(wing.relative_to(ROOT).parts)}\.\w")
    past_it = [
        named(path, node.lineno)
        for path in python_files(PACKAGE)
        if not path.is_relative_to(wing)
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom) and behind.match(node.module or "")
    ]
    assert not past_it


def test_the_front_door_names_exactly_what_it_shows() -> None:
    """To whoever runs it as to type checkers, which read the imports that are never run."""
    imports = [node for node in ast.walk(tree(FRONT_DOOR)) if isinstance(node, ast.ImportFrom)]
    of_ours = [node for node in imports if (node.module or "").startswith(f"{PACKAGE.name}.")]
    to_checkers = {alias.name: node.module for node in of_ours for alias in node.names}
    when_run = {
        name: f"{PACKAGE.name}.{room}"
        for room, names in convex_messaging_fastapi._ROOMS.items()
        for name in names
    }
    assert when_run == to_checkers
    assert list(convex_messaging_fastapi.__all__) == sorted(when_run)


def test_no_file_of_the_package_outgrows_its_purpose() -> None:
    assert not {named(p): lines for p in python_files(PACKAGE) if (lines := _lines(p)) > LONGEST_FILE}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{named(path, node.lineno)} {node.name}": length
        for path in python_files(PACKAGE)
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert not long


def test_no_class_has_more_state_than_a_head_holds() -> None:
    """What only lists data may be longer: a settings model, a frozen value. Nothing of it changes."""
    large = {
        f"{named(path)} {node.name}": count
        for path in python_files(PACKAGE)
        for node in nodes(path)
        if isinstance(node, ast.ClassDef) and (count := len(_state(node))) > MOST_ATTRIBUTES
    }
    assert not large


@pytest.mark.parametrize(
    ("source", "state"),
    [
        ("class A:\n def __init__(self):\n  self.a, self._b = 1, 2\n  self.c: int = 3", {"a", "_b", "c"}),
        ("class A:\n def later(self):\n  self.a = 1\n  self.a += 1\n  other.b = 2", {"a"}),
        ("class A(BaseSettings):\n a: int = 1\n b: int = 2", set[str]()),
        ("class A(NamedTuple):\n a: int", set[str]()),
        ("@dataclass(frozen=True, slots=True)\nclass A:\n a: int", set[str]()),
        ("@dataclass(slots=True)\nclass A:\n a: int\n def b(self):\n  self._b = 1", {"a", "_b"}),
        ("@dataclass\nclass A:\n a: int\n b: ClassVar[int] = 1", {"a"}),
    ],
)
def test_state_is_what_methods_assign_and_fields_that_may_change(source: str, state: set[str]) -> None:
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    assert _state(node) == state


def _state(node: ast.ClassDef) -> set[str]:
    """The attributes of an instance that may change."""
    assigned = {
        inner.attr
        for method in node.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(method)
        if isinstance(inner, ast.Attribute)
        and isinstance(inner.ctx, ast.Store)
        and isinstance(inner.value, ast.Name)
        and inner.value.id == "self"
    }
    decorators = [ast.unparse(each) for each in node.decorator_list]
    if not any(each.startswith("dataclass") and "frozen=True" not in each for each in decorators):
        return assigned
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    return assigned | {
        each.target.id
        for each in fields
        if isinstance(each.target, ast.Name) and "ClassVar" not in ast.unparse(each.annotation)
    }


NEEDED = [
    *PROJECT["project"]["dependencies"],
    *(needed for extra in PROJECT["project"]["optional-dependencies"].values() for needed in extra),
]
WORKSHOP = [needed for group in PROJECT["dependency-groups"].values() for needed in group]
OURS = {PACKAGE.name, "example_app", "tests", "tools", "benchmarks"}


BY_ANOTHER_NAME = {"PIL": ["pillow"]}
"""Modules that are not called as the package is that brings them, which need not be installed."""


@cache
def homes_of_packages() -> dict[str, list[str]]:
    return BY_ANOTHER_NAME | dict(packages_distributions())


@pytest.mark.parametrize(
    ("folders", "declared", "never_asked_for"),
    [
        # where a service has OpenTelemetry, its trace goes along
        (["convex_messaging_fastapi", "example_app"], NEEDED, {"opentelemetry"}),
        (["tests", "tools", "benchmarks"], NEEDED + WORKSHOP, set[str]()),
    ],
    ids=["package", "workshop"],
)
def test_every_package_that_is_imported_is_declared(
    folders: list[str], declared: list[str], never_asked_for: set[str]
) -> None:
    """What comes only by way of another is gone when that one no longer needs it."""
    known = {_distribution(needed) for needed in declared}
    homes = homes_of_packages()
    missing = {
        f"{named(path)}: {module}"
        for folder in folders
        for path in python_files(ROOT / folder)
        for module in _modules_of(tree(path)) - sys.stdlib_module_names - OURS - never_asked_for
        if not {_distribution(home) for home in homes.get(module, [module])} & known
    }
    assert not missing


def _modules_of(source: ast.Module) -> set[str]:
    found = set[str]()
    for node in statements(source):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _distribution(requirement: str) -> str:
    """`pydantic_core>=2` and `pydantic-core` are one."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_tools_stand_without_the_tests() -> None:
    """What `make kafka` starts is a tool, which tests and benchmarks use too."""
    tools = [*python_files(ROOT / "tools"), *python_files(ROOT / "benchmarks")]
    assert not [named(path) for path in tools if "tests" in _modules_of(tree(path))]


AT_THE_TOP = {
    # what is delivered, and what shows it
    "convex_messaging_fastapi", "example_app", "grafana", "Dockerfile", "docker-compose.yml", ".dockerignore",
    # what holds it to its word
    "tests", "tools", "benchmarks", "Makefile", "pyproject.toml", "constraints.txt",
    ".ci", ".github", ".gitignore",
    # what is told of it
    "README.md", "docs", "RELIABILITY.md", "SECURITY.md", "CHANGELOG.md", "LICENSE",
    "CONTRIBUTING.md", "CODE_OF_CONDUCT.md",
}  # fmt: skip


def test_nothing_stands_at_the_top_that_has_no_business_there() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in files()} <= AT_THE_TOP


def test_every_file_opens_with_what_it_is_for() -> None:
    with_code = [path for path in python_files() if text(path).strip()]
    assert not [named(path) for path in with_code if not (ast.get_docstring(tree(path)) or "").strip()]


def test_nothing_is_put_off() -> None:
    word = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME)\b")
    assert not list(_lines_with(word))


def test_no_test_sleeps_for_luck() -> None:
    lucky = [where for path in python_files(ROOT / "tests") for where in _sleeps(path)]
    assert not lucky, f"wait for an event; a handler's work is marked with {SIMULATES_WORK!r}"


@pytest.mark.parametrize(
    ("source", "sleeps"),
    [
        ("await asyncio.sleep(0.1)", True),
        ("time.sleep(1)", True),
        ("from asyncio import sleep\nawait sleep(delay)", True),
        ("await asyncio.sleep(0)", False),
        ("await clock.sleep(fake, 5)", False),
        ("await asyncio.sleep(0.1)  # simulates work", False),
    ],
)
def test_a_sleep_is_told_from_a_turn_of_the_loop(source: str, sleeps: bool) -> None:
    path = ROOT / "tests" / "imagined.py"
    assert bool(list(_sleeps(path, source))) is sleeps


def test_no_file_names_a_machine_or_an_index() -> None:
    assert not list(_lines_with(ELSEWHERE, but=Path(__file__)))


def _lines(path: Path) -> int:
    return len(text(path).splitlines())


def _lines_with(pattern: re.Pattern[str], but: Path | None = None) -> Iterator[str]:
    for path in files():
        if path == but:
            continue
        try:
            whole = text(path)
        except UnicodeDecodeError:
            continue  # not text
        if pattern.search(whole):
            lines = enumerate(whole.splitlines(), 1)
            yield from (named(path, number) for number, line in lines if pattern.search(line))


def _sleeps(path: Path, source: str | None = None) -> Iterator[str]:
    parsed = tree(path) if source is None else ast.parse(source)
    source = text(path) if source is None else source
    if "sleep" not in source:
        return
    lines = source.splitlines()
    for node in ast.walk(parsed):
        if not (isinstance(node, ast.Call) and _is_sleep(node.func)) or _is_a_turn(node):
            continue
        if SIMULATES_WORK not in lines[(node.end_lineno or node.lineno) - 1]:
            yield named(path, node.lineno)


def _is_sleep(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "sleep"
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "sleep"
        and isinstance(function.value, ast.Name)
        and function.value.id in ("asyncio", "time", "anyio")
    )


def _is_a_turn(call: ast.Call) -> bool:
    """`sleep(0)` gives the loop a turn; it waits for nothing."""
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
