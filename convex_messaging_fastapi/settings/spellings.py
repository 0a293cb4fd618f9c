"""How words and names may be spelled: Kafka's way or .NET's, in any case."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import BeforeValidator


def _bare(text: str) -> str:
    """`SaslSsl`, `SASL_SSL` and `sasl-ssl` are one word."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _spelled(*words: str, **aliases: str) -> BeforeValidator:
    meanings = {_bare(word): word for word in words} | aliases

    def meant(value: object) -> object:
        return meanings.get(_bare(value), value) if isinstance(value, str) else value

    return BeforeValidator(meant)


SecurityProtocol = Annotated[
    Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
    _spelled("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
]
SaslMechanism = Annotated[
    Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"],
    _spelled("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"),
]
AutoOffsetReset = Annotated[Literal["earliest", "latest"], _spelled("earliest", "latest")]
Unreadable = Annotated[Literal["hold", "bury"], _spelled("hold", "bury")]
PartitionerName = Annotated[
    Literal["murmur2", "crc32"],
    _spelled("murmur2", "crc32", murmur2random="murmur2", consistent="crc32", consistentrandom="crc32"),
]


def pascal_case(name: str) -> str:
    """`ssl_ca_location` as .NET writes it: `SslCaLocation`."""
    return "".join(part.capitalize() for part in name.split("_"))


def did_you_mean(wrong: str, right: Iterable[str]) -> str:
    """`; did you mean 'X'?`, or nothing when no name is near."""
    spelled = {_bare(name): name for name in right}
    near = get_close_matches(_bare(wrong), spelled, n=1)
    return f"; did you mean {spelled[near[0]]!r}?" if near else ""
