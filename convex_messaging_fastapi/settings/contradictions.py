"""Settings that are right one by one and wrong together, each with the sentence that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from convex_messaging_fastapi.settings.addresses import is_loopback

if TYPE_CHECKING:
    from convex_messaging_fastapi.settings.model import MessagingSettings


class Problem(NamedTuple):
    """One thing that is wrong, in one sentence, and the settings that it is about."""

    sentence: str
    settings: tuple[str, ...]


def contradictions(settings: MessagingSettings) -> list[Problem]:
    """Everything that is wrong at once. A bus in memory connects to nobody, so needs no security."""
    problems = [*_of_times(settings)]
    if settings.uses_sasl and not settings.is_memory:
        problems += [*_of_credentials(settings), *_of_secrecy(settings)]
    if settings.uses_tls and not settings.is_memory:
        problems += _of_certificates(settings)
    return problems


def _of_times(settings: MessagingSettings) -> Iterator[Problem]:
    if settings.drain_timeout_seconds >= settings.shutdown_timeout_seconds:
        yield Problem(
            f"drain_timeout_seconds ({settings.drain_timeout_seconds:g}) must be less than "
            f"shutdown_timeout_seconds ({settings.shutdown_timeout_seconds:g}): after the drain, offsets are "
            "committed and the producer is flushed; 5 seconds between them is a good choice",
            ("drain_timeout_seconds", "shutdown_timeout_seconds"),
        )


def _of_credentials(settings: MessagingSettings) -> Iterator[Problem]:
    chosen = f"security_protocol {settings.security_protocol} with sasl_mechanism {settings.sasl_mechanism}"
    if settings.sasl_mechanism == "OAUTHBEARER":
        if settings.oauth_token_provider is None:
            yield Problem(
                f"{chosen} needs a token: give one in code, as in "
                "MessagingSettings(oauth_token_provider=get_token) with `async def get_token() -> str`",
                ("security_protocol", "sasl_mechanism"),
            )
        return
    missing = [name for name in ("sasl_username", "sasl_password") if not getattr(settings, name)]
    if missing:
        yield Problem(
            f"{chosen} needs {' and '.join(missing)}: set {'it' if len(missing) == 1 else 'them'}, "
            "or choose a security_protocol without SASL",
            ("security_protocol", "sasl_mechanism"),
        )


def _of_secrecy(settings: MessagingSettings) -> Iterator[Problem]:
    if settings.uses_tls or settings.allow_plaintext_credentials:
        return
    exposed = [address for address in settings.bootstrap_servers.split(",") if not is_loopback(address)]
    if exposed:
        yield Problem(
            f"security_protocol SASL_PLAINTEXT would send credentials unencrypted to {exposed[0]}: choose "
            "SASL_SSL, or set allow_plaintext_credentials to true if the network may see them",
            ("security_protocol", "bootstrap_servers"),
        )


def _of_certificates(settings: MessagingSettings) -> Iterator[Problem]:
    certificate, key = settings.ssl_certificate_location, settings.ssl_key_location
    if certificate and not key:
        yield Problem(
            "ssl_certificate_location needs ssl_key_location beside it: the file with the private key, which "
            "may be the same file",
            ("ssl_certificate_location",),
        )
    if settings.ssl_key_password and not key:
        yield Problem(
            "ssl_key_password needs ssl_key_location beside it: the file with the key that it opens",
            ("ssl_key_password",),
        )
    if key and not certificate:
        yield Problem(
            "ssl_key_location needs ssl_certificate_location beside it: the client's certificate",
            ("ssl_key_location",),
        )
