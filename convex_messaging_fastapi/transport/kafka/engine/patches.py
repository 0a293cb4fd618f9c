"""Everything of aiokafka that is changed for the whole process: what others do with it stays as it was."""

from __future__ import annotations

from functools import cache

from convex_messaging_fastapi.transport.kafka.engine.codes import teach_codes
from convex_messaging_fastapi.transport.kafka.engine.connecting import make_candid_connections
from convex_messaging_fastapi.transport.kafka.engine.unpacking import bound_unpacking, unbounded
from convex_messaging_fastapi.transport.kafka.selfcheck import refusal


@cache
def patch_engine() -> None:
    """Once in a process. Raises `ConfigurationError` where the engine does not heed what it was given."""
    make_candid_connections()
    bound_unpacking()
    teach_codes()
    check_bounds()


def check_bounds() -> None:
    """Raises `ConfigurationError` that names each codec which unpacks past a limit."""
    if codecs := unbounded():
        raise refusal([f"a place to bound its {codec}" for codec in codecs])
