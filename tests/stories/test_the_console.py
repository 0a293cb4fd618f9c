"""The example app has a console for the users that `CONSOLE_USERS` names, and for nobody without it."""

from __future__ import annotations

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from convex_messaging_fastapi import MessageBus
from example_app.console import Door, NotUnderstood, include_console, operator, users


def test_users_have_a_name_a_password_and_what_they_may_do() -> None:
    named = users("ada:her password:write, bob:a:b:c:read")
    assert [(user.name, user.password, user.may_write) for user in named] == [
        ("ada", "her password", True),
        ("bob", "a:b:c", False),
    ]


def test_a_password_is_in_no_repr() -> None:
    assert "hush" not in repr(users("ada:hush:write"))


SEVERAL = "; users are separated by commas"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ada", "user 1 of CONSOLE_USERS needs a name, a password and what they may do"),
        ("ada:hush", "user 1 of CONSOLE_USERS ('ada') needs a name, a password"),
        ("ada::write", "user 1 of CONSOLE_USERS ('ada') needs a name, a password"),
        (":hush:write", "user 1 of CONSOLE_USERS needs a name, a password"),
        ("ada:hush:write,", "user 2 of CONSOLE_USERS needs a name, a password"),
        ("ada:hush:admin", "user 1 of CONSOLE_USERS ('ada') may `read` or `write`, and what follows"),
        ("ada:hush:Write", "user 1 of CONSOLE_USERS ('ada') may `read` or `write`, and what follows"),
        ("ada:hush:write,ada:hash:read", "CONSOLE_USERS names 'ada' twice"),
        ("ada:hüsh:write", "user 1 of CONSOLE_USERS ('ada') has letters beyond ASCII"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(text: str, said: str) -> None:
    with pytest.raises(NotUnderstood) as raised:
        users(text)
    told = str(raised.value)
    assert told.startswith(said)
    assert not {"hush", "hüsh", "hash"} & set(told.replace(":", " ").split())


@pytest.fixture
def guarded() -> TestClient:
    """Two doors, one for those who may write, that say who has come."""
    door = Door(users("ada:her:own:write,bob:his:read"))
    app = FastAPI()

    @app.get("/read", dependencies=[Depends(door.known)])
    @app.get("/write", dependencies=[Depends(door.known), Depends(door.may_write)])
    def name(request: Request) -> str:
        return operator(request)

    return TestClient(app)


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        ("/read", None, 401),
        ("/write", None, 401),
        ("/read", ("ada", "her:own"), 200),
        ("/write", ("ada", "her:own"), 200),
        ("/read", ("bob", "his"), 200),
        ("/write", ("bob", "his"), 403),
        ("/read", ("ada", "his"), 401),
        ("/write", ("bob", "her:own"), 401),
        ("/read", ("eve", "his"), 401),
        ("/read", ("bob", ""), 401),
    ],
)
def test_who_is_let_in_is_who_is_named(
    path: str, who: tuple[str, str] | None, status: int, guarded: TestClient
) -> None:
    answer = guarded.get(path, auth=who)
    assert answer.status_code == status
    if status == 200:
        assert who is not None
        assert answer.json() == who[0]
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="messaging"'


@pytest.mark.parametrize("environment", [{}, {"CONSOLE_USERS": ""}, {"CONSOLE_USERS": "  "}])
def test_where_nobody_is_named_there_is_no_console(environment: dict[str, str]) -> None:
    app = FastAPI()
    before = len(app.routes)
    include_console(app, MessageBus(), environment)
    assert len(app.routes) == before
