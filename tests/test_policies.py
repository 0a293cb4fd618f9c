"""Values that a subscriber chooses refuse what they cannot mean, and say what was given."""

from __future__ import annotations

from typing import Any

import pytest

from convex_messaging_fastapi import Batch, Breaker, ConfigurationError, Retry

WRONG: dict[tuple[type, str], list[Any]] = {
    (Retry, "attempts"): [0, -1, "3", 2.0, True, float("nan")],
    (Retry, "delay_seconds"): [-1, "5", None, True, float("nan")],
    (Retry, "multiplier"): [0.5, "2", None, True],
    (Retry, "max_delay_seconds"): [-1, "5", None, float("nan")],
    (Retry, "jitter"): [-0.1, 1.1, "0", None],
    (Retry, "only"): [ValueError, [ValueError], (1,), (ValueError("x"),), None, "ValueError"],
    (Retry, "never"): [ValueError, [ValueError], (1,), (int,), None],
    (Batch, "max_records"): [0, -1, "10", 1.5, True, None],
    (Batch, "max_wait_seconds"): [-1, "1", None, float("nan")],
    (Breaker, "share"): [0, 1.1, -1, "0.9", None, True, float("nan")],
    (Breaker, "of"): [2, 1001, 20.0, "20", None, True],
    (Breaker, "wait_seconds"): [0, 301, -1, "30", None, True, float("inf"), float("nan")],
}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for (kind, name), values in WRONG.items() for value in values],
)
def test_what_it_cannot_mean_is_refused_with_what_was_given(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        kind(**{name: value})
    said = str(refused.value)
    assert said.startswith(f"{kind.__name__}.{name} takes ")
    assert said.endswith(f", not {value!r}")


def test_the_table_has_every_choice() -> None:
    chosen = {(kind, name) for kind in (Retry, Batch, Breaker) for name in kind.__dataclass_fields__}
    assert set(WRONG) == chosen


def test_a_delay_beyond_its_own_cap_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"400 is more than 300\.0: give a larger max_delay_seconds"):
        Retry(delay_seconds=400)
    assert Retry(delay_seconds=400, max_delay_seconds=400).delay_seconds == 400


def test_a_value_that_cannot_be_shown_is_told_by_its_type() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(ConfigurationError, match=r"not a Broken$"):
        Retry(attempts=Broken())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as refused:
        Retry(attempts="x" * 10_000)  # type: ignore[arg-type]
    assert len(str(refused.value)) < 200
