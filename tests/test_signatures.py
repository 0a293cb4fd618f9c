"""What the front door shows changes only where a reviewer can see it."""

from __future__ import annotations

import re

from tools.signatures import GOLDEN, written

TIME = re.compile(r"\b(\w*(?:second|minute|timeout|delay|wait(?!ing)|interval|retention|linger|_ms)\w*): ")
"""A parameter or field whose name says that it is a time."""

NO_TIMES = {"default_retry", "waiting"}


def test_every_public_signature_and_default_is_the_one_on_file() -> None:
    """After a wanted change: `python -m tools.signatures`, and a line in the changelog."""
    assert written() == GOLDEN.read_text()


def test_every_time_has_its_unit_in_its_name_or_is_called_timeout() -> None:
    """`timeout` is seconds everywhere, as in Python's own library; milliseconds are .NET's settings."""
    times = {name for name in TIME.findall(GOLDEN.read_text()) if name not in NO_TIMES}
    assert {"timeout", "seconds", "delay_seconds", "session_timeout_ms"} <= times
    unclear = {name for name in times if not re.fullmatch(r"timeout|(\w+_)?seconds|\w+_ms", name)}
    assert not unclear
