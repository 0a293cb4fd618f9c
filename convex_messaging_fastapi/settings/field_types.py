"""The types of settings, and how their values may be spelled: words, names, addresses, secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from types import NoneType
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Secret, SecretStr
from pydantic.fields import FieldInfo

Fields = Mapping[str, FieldInfo]


def kind(field: FieldInfo) -> Any:
    """The type of a setting, without its `| None`."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(field.annotation) else field.annotation


def is_secret(field: FieldInfo) -> bool:
    return kind(field) is SecretStr


def secret_names(fields: Fields) -> frozenset[str]:
    return frozenset(name for name, field in fields.items() if is_secret(field))


def conceal(value: Any) -> Any:
    """The value as a secret that no `repr` shows. A value of a wrong type is hidden too, and stays wrong."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return SecretStr(str(value).strip())
    return value if value is None or isinstance(value, SecretStr) else Secret(value)


def is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


# Words, as Kafka or .NET spells them, in upper or lower case.


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
    near = nearest_to(wrong, right)
    return f"; did you mean {near!r}?" if near else ""


def nearest_to(wrong: str, right: Iterable[str]) -> str | None:
    spelled = {_bare(name): name for name in right}
    near = get_close_matches(_bare(wrong), spelled, n=1)
    return spelled[near[0]] if near else None


# Names that Kafka takes: prefixes, group instances, and the template of a queue's group.

_LEGAL = re.compile(r"[A-Za-z0-9._-]*")
_LONGEST = 200


def _checked_name(text: str) -> str:
    if not _LEGAL.fullmatch(text) or len(text) > _LONGEST:
        raise ValueError(
            f"takes up to {_LONGEST} letters, digits, dots, dashes and underscores, not {text[:60]!r}"
        )
    return text


def _checked_prefix(text: str) -> str:
    if text.startswith(".") or text.endswith("."):
        raise ValueError(f"takes no dot at its ends, not {text!r}: a dot is put between prefix and topic")
    return text


def _checked_queue_group(template: str) -> str:
    filled = template.replace("{prefix}", "").replace("{queue}", "")
    if "{" in filled or "}" in filled:
        raise ValueError(f"takes {{prefix}} and {{queue}} and no other braces, not {template!r}")
    return template


TopicPrefix = Annotated[str, AfterValidator(_checked_name), AfterValidator(_checked_prefix)]
InstanceId = Annotated[str, AfterValidator(_checked_name)]
QueueGroup = Annotated[str, AfterValidator(_checked_queue_group)]


def queue_group(template: str, prefix: str, queue: str) -> str:
    """The group of a queue's receivers, whether or not the queue was named with its prefix."""
    if not prefix:
        return template.replace("{prefix}.", "").replace("{prefix}", "").replace("{queue}", queue)
    return template.replace("{prefix}", prefix).replace("{queue}", queue.removeprefix(f"{prefix}."))


# Brokers: `host:port`, several with commas between, or the in-process `memory://`.

MEMORY = "memory://"

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_HOSTS_AND_PORTS = re.compile(
    r"([A-Za-z_+-]{1,20}://)?([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]*\])(:[0-9]*)?([;|\s/]+[A-Za-z0-9._-]*(:[0-9]*)?)*"
)
_BETWEEN = re.compile(r"[;|\s/]+")
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
    # First of all, and without repeating the text: what stands before an @ may be a password.
    if "@" in text:
        raise ValueError(
            "takes no credentials: remove what ends in @, and set sasl_username and sasl_password"
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
        raise ValueError(f"takes host:port, {_cure(address)}{_shown(address)}")
    if not 1 <= int(parts["port"]) <= 65535:
        raise ValueError(f"takes ports from 1 to 65535, not {address!r}")


def _shown(address: str) -> str:
    """The text as given, if it is hosts and ports alone; any other text may hold a password."""
    return f", not {address!r}" if _HOSTS_AND_PORTS.fullmatch(address) else ", and nothing else"


def _cure(address: str) -> str:
    several = [each for each in _BETWEEN.split(address) if each]
    if len(several) < 2 or not _HOSTS_AND_PORTS.fullmatch(address):
        return f"for instance {_mended(address)}"
    mended = (each if _ADDRESS.fullmatch(each) else _mended(each) for each in several)
    return f"several with commas between, as in {','.join(mended)}"


def _mended(address: str) -> str:
    host = re.sub(r"[^A-Za-z0-9._-].*", "", address)
    return f"{host or 'kafka'}:9092"


Servers = Annotated[str, BeforeValidator(_as_text), AfterValidator(_checked)]
"""`host:port,host:port` without blanks, or `memory://name`; a list of addresses is taken too."""


def _as_names(value: object) -> object:
    """A list of names as one text."""
    return ",".join(value) if isinstance(value, list | tuple) and all(map(_is_text, value)) else value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _checked_topics(text: str) -> str:
    """`text` without blanks; raises `ValueError` with the sentence that mends it."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not _TOPIC.fullmatch(name):
            raise ValueError(
                f"takes names of topics, with commas between: ASCII letters, digits, '.', '_' and '-', not "
                f"{name[:80]!r}"
            )
    return ",".join(dict.fromkeys(names))


_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")

TopicNames = Annotated[str, BeforeValidator(_as_names), AfterValidator(_checked_topics)]
"""`topic,topic` without blanks, each once; a list of names is taken too."""


def is_loopback(address: str) -> bool:
    """Whether what is sent to `host:port` stays on this machine, judged without a name server."""
    host = address.rpartition(":")[0].strip("[]").lower()
    if host == "localhost":  # but no name below it: some name servers answer those with other machines
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
