"""The console for whoever is on call, behind HTTP basic authentication: `CONSOLE_USERS` names its users.

A real service takes its own users: any dependency that raises for who is not allowed will do.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from convex_messaging_fastapi import MessageBus

VARIABLE = "CONSOLE_USERS"
FORM = "name:password:write, or name:password:read; users are separated by commas"
PREFIX = "/messaging"

basic = HTTPBasic(realm="messaging")


class NotUnderstood(ValueError):
    """What `CONSOLE_USERS` says is of no use. Passwords are not repeated."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may look, and perhaps act."""

    name: str
    password: str = field(repr=False)
    may_write: bool


def users(text: str) -> tuple[User, ...]:
    """Those that the text names: `ada:her password:write,bob:his:read`. A password may have colons."""
    found = tuple(_user(place, each.strip()) for place, each in enumerate(text.split(","), 1))
    names = [user.name for user in found]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise NotUnderstood(f"{VARIABLE} names {double!r} twice: one user has one password")
    return found


def _user(place: int, text: str) -> User:
    name, _, rest = text.partition(":")
    password, _, access = rest.rpartition(":")
    whose = f"user {place} of {VARIABLE}" + (f" ({name!r})" if rest and name else "")
    if not (name and password):
        raise NotUnderstood(f"{whose} needs a name, a password and what they may do: {FORM}")
    if access not in ("read", "write"):
        raise NotUnderstood(
            f"{whose} may `read` or `write`, and what follows the last colon is neither: {FORM}"
        )
    if not text.isascii():
        raise NotUnderstood(
            f"{whose} has letters beyond ASCII, which HTTP basic authentication does not carry"
        )
    return User(name, password, access == "write")


@dataclass(frozen=True, slots=True)
class Door:
    """Lets those in whom it knows."""

    users: tuple[User, ...]

    def known(self, request: Request, given: Annotated[HTTPBasicCredentials, Depends(basic)]) -> User:
        """Every user is compared, in constant time: how long it takes tells nothing."""
        met = [_same(user.name, given.username) & _same(user.password, given.password) for user in self.users]
        if True not in met:
            raise basic.make_not_authenticated_error()
        request.state.console_user = self.users[met.index(True)]
        return self.users[met.index(True)]

    def may_write(self, request: Request, given: Annotated[HTTPBasicCredentials, Depends(basic)]) -> None:
        if not self.known(request, given).may_write:
            raise HTTPException(403, f"{given.username} may read here, and not write")


def operator(request: Request) -> str:
    """Who acts: the history of a letter names them."""
    user: User = request.state.console_user
    return user.name


def include_console(app: FastAPI, bus: MessageBus, environment: Mapping[str, str]) -> None:
    """Where users are named there is a console for them; else there is none, and nothing of it is loaded."""
    if not (text := environment.get(VARIABLE, "").strip()):
        return
    from convex_messaging_fastapi.console import messaging_console

    door = Door(users(text))
    console = messaging_console(
        bus, dependencies=[Depends(door.known)], writes=[Depends(door.may_write)], operator=operator
    )
    app.include_router(console, prefix=PREFIX)


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())
