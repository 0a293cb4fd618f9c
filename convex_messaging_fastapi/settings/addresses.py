"""Broker addresses: `host:port`, several with commas between, or the in-process `memory://`."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

MEMORY = "memory://"

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_HOSTS_AND_PORTS = re.compile(
    r"([A-Za-z_+-]{1,20}://)?([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]*\])(:[0-9]*)?([;\s/]+[A-Za-z0-9._-]*(:[0-9]*)?)*"
)
_MEMORY_NAME = re.compile(r"[A-Za-z0-9._-]*")


def _as_text(value: object) -> object:
    """A list of addresses as the text it stands for."""
    if not isinstance(value, list | tuple):
        return value
    if not all(isinstance(address, str) for address in value):
        raise ValueError("takes host:port as text, or a list of such texts")
    return ",".join(value)


def _checked(text: str) -> str:
    """`text` without blanks; raises `ValueError` with the sentence that mends it."""
    # Looked for first, and never repeated: what stands before an @ may be a password.
    if "@" in text:
        raise ValueError(
            "takes no credentials: leave what ends in @ away, and set sasl_username, sasl_password"
        )
    if MEMORY in text:
        return _checked_memory(text)
    addresses = [address.strip() for address in text.split(",") if address.strip()]
    if not addresses:
        raise ValueError("names no broker: write host:port, for instance kafka:9092")
    for address in addresses:
        _check(address)
    return ",".join(addresses)


def _checked_memory(text: str) -> str:
    before, _, name = text.partition(MEMORY)
    if before or not _MEMORY_NAME.fullmatch(name):
        raise ValueError(
            "takes memory:// or memory://name alone; a name has letters, digits, dots, dashes, underscores"
        )
    return text


def _check(address: str) -> None:
    if "://" in address:
        raise ValueError(
            f"takes host:port without a scheme{_shown(address)}: security_protocol says the rest"
        )
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise ValueError(f"takes host:port, for instance {_mended(address)}{_shown(address)}")
    if not 1 <= int(parts["port"]) <= 65535:
        raise ValueError(f"takes ports from 1 to 65535, not {address!r}")


def _shown(address: str) -> str:
    """What was given, where it is made of hosts and ports; anything else may hold a user and a password."""
    return f", not {address!r}" if _HOSTS_AND_PORTS.fullmatch(address) else ", and nothing else"


def _mended(address: str) -> str:
    host = re.sub(r"[^A-Za-z0-9._-].*", "", address)
    return f"{host or 'kafka'}:9092"


Servers = Annotated[str, BeforeValidator(_as_text), AfterValidator(_checked)]
"""`host:port,host:port` without blanks, or `memory://name`; a list of addresses is taken too."""


def is_loopback(address: str) -> bool:
    """Whether `host:port` cannot leave this machine, judged without asking a name server."""
    host = address.rpartition(":")[0].strip("[]").lower()
    if host == "localhost":  # and no name below it: there are name servers that are asked for those
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
