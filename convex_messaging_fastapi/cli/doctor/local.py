"""What can be known without the cluster: versions, the engine, the settings."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from convex_messaging_fastapi import __version__
from convex_messaging_fastapi.cli.doctor.findings import Findings, doubtful, good, wrong

if TYPE_CHECKING:
    from convex_messaging_fastapi.settings import MessagingSettings

_PACKAGES = ("aiokafka", "fastapi", "pydantic")


def of_versions() -> Findings:
    told = [f"convex-messaging-fastapi {__version__}", f"Python {platform.python_version()}"]
    missing = []
    for package in _PACKAGES:
        try:
            told.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        yield wrong("versions", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield good("versions", ", ".join(told))


def of_engine() -> Findings:
    """Whether aiokafka is one that this package knows."""
    from convex_messaging_fastapi.errors import ConfigurationError
    from convex_messaging_fastapi.transport.kafka import check_engine

    try:
        check_engine()
    except ConfigurationError as error:
        yield wrong("engine", str(error), "pip install 'aiokafka>=0.14,<0.15'")
    else:
        yield good("engine", f"aiokafka {version('aiokafka')} has all that is relied on")


def of_settings(settings: MessagingSettings) -> Findings:
    """Those that were read without a contradiction; what is odd about them was a warning by then."""
    default = type(settings).model_fields["consumer_group"].default
    if settings.consumer_group == default:
        yield doubtful(
            "settings",
            f"consumer_group is {default!r}, as it is for every service that was given none",
            "set KAFKA_CONSUMER_GROUP to this service's name, or two services share their messages",
        )
    else:
        yield good(
            "settings",
            f"group {settings.consumer_group}, prefix {settings.topic_prefix or '(none)'}, "
            f"{settings.security_protocol}",
        )


def of_partitioner(settings: MessagingSettings) -> Findings:
    """It cannot be seen in a cluster which one others use."""
    others = {"murmur2": "Java's; .NET's default is crc32", "crc32": ".NET's default; Java's is murmur2"}
    yield good("partitioner", f"{settings.partitioner}: {others[settings.partitioner]}")


_CODECS = {"snappy": "cramjam", "lz4": "cramjam", "zstd": "cramjam"}


def codecs_missing() -> frozenset[str]:
    """Kinds of compression that this Python cannot read. gzip is always there."""
    return frozenset(name for name, module in _CODECS.items() if find_spec(module) is None)
