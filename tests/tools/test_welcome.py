"""`make run` says where the console is, or how there would be one."""

from __future__ import annotations

import pytest

from tools import welcome


def test_who_names_users_is_told_where_their_console_is() -> None:
    told = welcome.console("localhost", "8001", "ada:hush:write,bob:hash:read")
    assert "http://localhost:8001/messaging  for ada and bob" in told
    assert "hush" not in told


def test_who_names_none_is_told_how() -> None:
    assert "CONSOLE_USERS=ada:a-password:write make run" in welcome.console("localhost", "8000", " ")


def test_what_is_misspelt_ends_it_in_one_line() -> None:
    with pytest.raises(SystemExit) as raised:
        welcome.console("localhost", "8000", "ada")
    assert str(raised.value).startswith("user 1 of CONSOLE_USERS needs")
    assert "\n" not in str(raised.value)
