"""Every change of aiokafka for the whole process; each has an effect only where the engine works for us."""

from __future__ import annotations

from functools import cache

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.transport.kafka.engine.batches import bound_unpacking, unbounded
from convex_messaging_fastapi.transport.kafka.engine.codes import name_codes
from convex_messaging_fastapi.transport.kafka.engine.connections import make_candid_connections
from convex_messaging_fastapi.transport.kafka.engine.log_filter import calm_engine_logs
from convex_messaging_fastapi.transport.kafka.selfcheck import refusal


def patch_engine(clock: Clock) -> None:
    """Change aiokafka, once in a process. Raises `ConfigurationError` if a change has no effect."""
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
