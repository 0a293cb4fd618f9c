"""`messaging_console`: the router with all pages, made only for those whom a dependency lets in."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, params

from convex_messaging_fastapi.asyncapi.describing import settings_of
from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.console.course import Course
from convex_messaging_fastapi.console.desk import Desk, Operator
from convex_messaging_fastapi.console.drawing import environment
from convex_messaging_fastapi.console.routes.answering import add_answers
from convex_messaging_fastapi.console.routes.reading import ONE_LETTER, PAGES, add_files, add_pages
from convex_messaging_fastapi.console.routes.serving import ConsoleRoute
from convex_messaging_fastapi.console.routes.writing import add_actions
from convex_messaging_fastapi.console.security import Tokens
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.measuring import Measuring
from convex_messaging_fastapi.misuse import kind_of


def messaging_console(
    bus: MessageBus,
    *,
    dependencies: Sequence[params.Depends],
    writes: Sequence[params.Depends] | None = None,
    operator: Operator | None = None,
    secret: str | None = None,
) -> APIRouter:
    """The pages about a bus, for whoever `dependencies` let in. Needs the extra `console`.

        console = messaging_console(bus, dependencies=[Depends(require_admin)])
        app.include_router(console, prefix="/messaging")

    It shows; it acts only where `writes` and `operator` are given: `writes` are further dependencies, of what
    pauses, replays and discards, and `operator(request)`, sync or async, answers who does it, which is kept
    with what was done. `secret` signs what a page has shown before something is done; by default
    `console_secret` of the settings, else one of this process alone. The bus measures its handlers from its
    next start on, so make it before that. Raises `ConfigurationError` without a dependency, for a bus that
    runs, and where the extra is missing.
    """
    environment()
    if not isinstance(bus, MessageBus):
        raise ConfigurationError(f"messaging_console is about a MessageBus, not {kind_of(bus)}")
    _check("dependencies", dependencies)
    if (writes is None) is not (operator is None):
        raise ConfigurationError(
            "`writes=[Depends(...)]` says who may act, and `operator=` who it was: messaging_console takes "
            "both, or neither and only shows"
        )
    if writes is not None:
        _check("writes", writes)
    desk = Desk(bus, _course_of(bus), Tokens(lambda: secret or _secret_of(bus)), operator)
    router = APIRouter(dependencies=[*dependencies], route_class=ConsoleRoute, redirect_slashes=False)
    add_files(router)
    add_answers(router, desk)
    add_actions(router, desk, writes or ())
    add_pages(router, desk, PAGES)
    add_pages(router, desk, ONE_LETTER)
    return router


def _check(name: str, given: object) -> None:
    if (
        not isinstance(given, Sequence)
        or not given
        or not all(isinstance(each, params.Depends) for each in given)
    ):
        raise ConfigurationError(
            f"`{name}` of messaging_console is a list such as [Depends(require_admin)], and not empty: it "
            f"shows messages, and must not be open to all. It was {given!r}"
        )


def _course_of(bus: MessageBus) -> Course:
    """The bus is watched from its next start on, and by one, however many consoles it has."""
    found = next((each for each in bus._observers if isinstance(each, Course)), None)
    if found is not None:
        return found
    if bus._life.begun:
        raise ConfigurationError(
            "the bus is running: make its console before it starts, where the app is made"
        )
    course = Course()
    measuring = () if any(isinstance(each, Measuring) for each in bus._observers) else (Measuring(),)
    bus._observers = (*bus._observers, *measuring, course)
    return course


def _secret_of(bus: MessageBus) -> str | None:
    secret = settings_of(bus).console_secret
    return None if secret is None else secret.get_secret_value()
