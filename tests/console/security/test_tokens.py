"""A token stands for what one operator was shown, for one action, for an hour, under one secret."""

from __future__ import annotations

from typing import Any

import pytest

from convex_messaging_fastapi.console.security import Refused, Tokens
from convex_messaging_fastapi.console.security.tokens import SECONDS
from tests.console.support import HANDLER, PREFIX, SAME_SITE, Page, app_with, calling, shop

SHOWN = {"ids": ("2/517", "2/518"), "expected": ("2",)}
PAUSE = f"/subscriptions/pause?group=shop&subscription={HANDLER}"
SECRET = "a secret of the whole fleet"


class Now:
    at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


def tokens(now: Now, secret: str | None = SECRET) -> Tokens:
    return Tokens(lambda: secret, now)


def test_it_is_taken_for_an_hour_and_not_longer() -> None:
    now = Now()
    token = tokens(now).sign("ada", "replay", SHOWN)
    now.at += SECONDS
    tokens(now).check(token, "ada", "replay", SHOWN)
    now.at += 1
    with pytest.raises(Refused, match="too old"):
        tokens(now).check(token, "ada", "replay", SHOWN)


@pytest.mark.parametrize(
    ("by", "action", "shown"),
    [
        ("eve", "replay", SHOWN),
        ("ada", "discard", SHOWN),
        ("ada", "replay", SHOWN | {"expected": ("3",)}),
        ("ada", "replay", {"ids": ("2/518", "2/517"), "expected": ("2",)}),
        ("ada", "replay", {"ids": ("2/517",), "expected": ("2/518", "2")}),
        ("ada", "replay", {"ids": SHOWN["ids"]}),
        ("ada", "replay", SHOWN | {"to": ("topic",)}),
    ],
)
def test_it_stands_for_nothing_else(by: str, action: str, shown: dict[str, tuple[str, ...]]) -> None:
    now = Now()
    token = tokens(now).sign("ada", "replay", SHOWN)
    with pytest.raises(Refused):
        tokens(now).check(token, by, action, shown)


def test_its_time_cannot_be_put_off() -> None:
    now = Now()
    _, _, mac = tokens(now).sign("ada", "replay", SHOWN).partition(".")
    with pytest.raises(Refused):
        tokens(now).check(f"{int(now.at) + 10 * SECONDS}.{mac}", "ada", "replay", SHOWN)


@pytest.mark.parametrize(("secret", "other"), [(None, None), (SECRET, None), (SECRET, "b" * 20)])
def test_processes_of_other_secrets_do_not_take_it(secret: str | None, other: str | None) -> None:
    now = Now()
    token = tokens(now, secret).sign("ada", "replay", SHOWN)
    with pytest.raises(Refused, match="too old, or was made for somebody else"):
        tokens(now, other).check(token, "ada", "replay", SHOWN)


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [({}, {}, 403), ({"console_secret": SECRET}, {"console_secret": SECRET}, 303)],
    ids=["each its own", "console_secret"],
)
async def test_console_secret_lets_one_process_take_what_another_has_shown(
    first: dict[str, str], second: dict[str, str], status: int
) -> None:
    assert await shown_by_one_pressed_at_another(first, second, {}) == status


async def test_a_secret_in_code_wins_over_that_of_the_settings() -> None:
    settings = {"console_secret": SECRET}
    assert await shown_by_one_pressed_at_another(settings, {}, {"secret": SECRET}) == 303
    assert await shown_by_one_pressed_at_another(settings, settings, {"secret": "b" * 20}) == 403


async def shown_by_one_pressed_at_another(
    first: dict[str, str], second: dict[str, str], choices: dict[str, Any]
) -> int:
    """The status code of the second process."""
    one, other = shop(**first)[0], shop(**second)[0]
    app, elsewhere = app_with(one), app_with(other, **choices)
    async with one.test(app), other.test(elsewhere), calling(app) as here, calling(elsewhere) as there:
        form = Page((await here.get(PREFIX + PAUSE)).text).form("post")
        return (await there.post(form.action, data=form.fields, headers=SAME_SITE)).status_code
