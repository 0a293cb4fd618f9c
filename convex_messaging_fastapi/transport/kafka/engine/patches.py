"""Everything of aiokafka that is changed for the whole process, each behind a look at whom it works for."""

from __future__ import annotations

from functools import cache

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.transport.kafka.engine.batches import bound_unpacking, unbounded
from convex_messaging_fastapi.transport.kafka.engine.codes import name_codes
from convex_messaging_fastapi.transport.kafka.engine.connections import make_candid_connections
from convex_messaging_fastapi.transport.kafka.engine.log_filter import calm_engine_logs
from convex_messaging_fastapi.transport.kafka.selfcheck import refusal


def patch_engine(clock: Clock) -> None:
    """Once in a process. Raises `ConfigurationError` where the engine does not heed what it was given."""
    calm_engine_logs(clock)
    _patch_modules()


@cache
def _patch_modules() -> None:
    make_candid_connections()
    bound_unpacking()
    name_codes()
    check_bounds()


def check_bounds() -> None:
    """Raises `ConfigurationError` that names each codec which unpacks past a limit."""
    if codecs := unbounded():
        raise refusal([f"a place to bound its {codec}" for codec in codecs])
