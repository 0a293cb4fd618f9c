"""Where the app is looked for, in which order, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from convex_messaging_fastapi.cli.finding import Named, named_app
from tests.cli.calls import Cli

BUS = """
from convex_messaging_fastapi import MessageBus, MessagingSettings

bus = MessageBus(MessagingSettings(consumer_group="{group}", bootstrap_servers="127.0.0.1:1"))

@bus.subscriber("orders", id="handle")
async def handle(order: dict) -> None: ...
"""

FACTORY = "def make():\n    return bus\n\nclass inner:\n    deep = bus\n"

PYPROJECT = """
[tool.convex-messaging]
app = "ours:bus"

[tool.fastapi]
entrypoint = "theirs:bus"
"""


def write(folder: Path, **modules: str) -> None:
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)


def group_of(ran: object) -> str:
    from tests.cli.calls import Ran

    assert isinstance(ran, Ran)
    assert ran.code == 0, ran.err
    return str(ran.json[0]["group"])


@pytest.mark.parametrize(
    ("given", "environment", "pyproject", "named"),
    [
        ("a:b", {"CONVEX_APP": "c:d"}, PYPROJECT, Named("a:b", "--app", True)),
        (None, {"CONVEX_APP": "c:d"}, PYPROJECT, Named("c:d", "CONVEX_APP", True)),
        (None, {}, PYPROJECT, Named("ours:bus", "[tool.convex-messaging] app in pyproject.toml", True)),
        (
            None,
            {},
            '[tool.fastapi]\nentrypoint = "t:b"',
            Named("t:b", "[tool.fastapi] entrypoint in pyproject.toml", False),
        ),
        (None, {}, "[tool]\nfastapi = 3", None),
        (None, {}, "", None),
    ],
)
def test_the_nearest_word_counts(
    folder: Path, given: str | None, environment: dict[str, str], pyproject: str, named: Named | None
) -> None:
    (folder / "pyproject.toml").write_text(pyproject)
    assert named_app(given, environment, folder) == named


@pytest.mark.parametrize("app", ["shop:bus", "shop:make", "shop:inner.deep", "shop"])
def test_an_app_a_bus_or_a_function_may_be_named(folder: Path, cli: Cli, app: str) -> None:
    write(folder, shop=BUS.format(group="shop") + FACTORY)
    assert group_of(cli("handlers", "--json", "--app", app)) == "shop"


def test_without_a_word_the_usual_files_are_tried(folder: Path, cli: Cli) -> None:
    write(folder, app=BUS.format(group="in app.py"))
    assert group_of(cli("handlers", "--json")) == "in app.py"
    write(folder, main=BUS.format(group="in main.py"))
    assert group_of(cli("handlers", "--json")) == "in main.py"


def test_another_folder_may_be_named(folder: Path, cli: Cli) -> None:
    (folder / "src").mkdir()
    write(folder / "src", main=BUS.format(group="in src"))
    assert group_of(cli("handlers", "--json", "--app-dir", "src")) == "in src"


TWO = BUS.format(group="one") + "\nother = MessageBus()\nfrom fastapi import FastAPI\napp = FastAPI()\n"
ROUTERS = (
    "from convex_messaging_fastapi import MessagingRouter\n"
    "for each in (bus, other):\n    app.include_router(MessagingRouter(each, health_prefix=f'/{id(each)}'))\n"
)


@pytest.mark.parametrize(
    ("modules", "app", "told"),
    [
        (
            {},
            None,
            "no app was found: name it by --app module:attribute, CONVEX_APP, or [tool.convex-messaging]",
        ),
        ({}, "shop:bus", "there is no module shop (--app) in "),
        ({"shop": "import nosuch"}, "shop:bus", "shop (--app) needs the module nosuch: install it"),
        ({"shop": "1 / 0"}, "shop:bus", "shop (--app) cannot be loaded: ZeroDivisionError: division by zero"),
        ({"shop": ""}, "shop:bus", "has no attribute 'bus'"),
        (
            {"shop": "bus = 3"},
            "shop:bus",
            "shop:bus (--app) is int, which has no message bus: name a FastAPI app",
        ),
        (
            {"shop": "def make(): return 3"},
            "shop:make",
            "shop:make (--app) makes int, which has no message bus",
        ),
        ({"shop": "def make(): 1 / 0"}, "shop:make", "shop:make (--app) failed: ZeroDivisionError"),
        ({"shop": "x = 1"}, "shop", "shop (--app) holds no app that includes a MessagingRouter"),
        ({"shop": TWO}, "shop:app", "shop:app (--app) is FastAPI, which has no message bus"),
        ({"shop": TWO + ROUTERS}, "shop:app", "has 2 message buses: name the one you mean"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    folder: Path, cli: Cli, modules: dict[str, str], app: str | None, told: str
) -> None:
    write(folder, **modules)
    ran = cli("handlers", *(["--app", app] if app else []))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert told in ran.err
    assert ran.err.count("\n") == 1


def test_debug_shows_where_it_broke(folder: Path, cli: Cli) -> None:
    write(folder, shop="1 / 0")
    ran = cli("handlers", "--app", "shop:bus", "--debug")
    assert ran.code == 2
    assert 'shop.py", line 1' in ran.err


def test_an_app_that_was_named_for_others_alone_lends_no_settings(folder: Path, cli: Cli) -> None:
    """Nobody who asks for the settings wants an app to be loaded because FastAPI would load it."""
    write(folder, theirs="1 / 0")
    (folder / "pyproject.toml").write_text('[tool.fastapi]\nentrypoint = "theirs:bus"')
    assert cli("settings", "--json").json["consumer_group"] == "convex-group"


@pytest.mark.parametrize("word", ["--app", "CONVEX_APP", "[tool.convex-messaging]"])
def test_an_app_that_was_named_for_us_lends_its_settings(
    folder: Path, cli: Cli, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, ours=BUS.format(group="its own"))
    arguments = ["--app", "ours:bus"] if word == "--app" else []
    if word == "CONVEX_APP":
        monkeypatch.setenv(word, "ours:bus")
    elif not arguments:
        (folder / "pyproject.toml").write_text(PYPROJECT)
    assert cli("settings", "--json", *arguments).json["consumer_group"] == "its own"
