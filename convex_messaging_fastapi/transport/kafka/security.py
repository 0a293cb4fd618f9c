"""How a broker is reached and convinced: addresses, TLS, SASL."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from convex_messaging_fastapi.settings import MessagingSettings


class Access:
    """What every connection of one bus is made with. Reads no file before it is asked for."""

    def __init__(self, settings: MessagingSettings) -> None:
        self._settings = settings

    @property
    def servers(self) -> list[str]:
        return [server.strip() for server in self._settings.bootstrap_servers.split(",") if server.strip()]

    @property
    def protocol(self) -> str:
        return self._settings.security_protocol

    @property
    def anywhere(self) -> bool:
        """Whether credentials may go unencrypted to hosts that are not loopback."""
        return self._settings.allow_plaintext_credentials

    @cached_property
    def credentials(self) -> dict[str, Any]:
        """The engine's keyword arguments about security.

        Raises `OSError` when a certificate or key cannot be read.
        """
        chosen: dict[str, Any] = {"security_protocol": self.protocol}
        if self._settings.uses_tls:
            chosen["ssl_context"] = tls_context(self._settings)
        if self._settings.uses_sasl:
            chosen |= self._sasl()
        return chosen

    def _sasl(self) -> dict[str, Any]:
        mechanism, password = self._settings.sasl_mechanism, self._settings.sasl_password
        if (provider := self._settings.oauth_token_provider) is not None and mechanism == "OAUTHBEARER":
            return {"sasl_mechanism": mechanism, "sasl_oauth_token_provider": _Tokens(provider)}
        return {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": self._settings.sasl_username or "",
            "sasl_plain_password": password.get_secret_value() if password else "",
        }


def tls_context(settings: MessagingSettings) -> ssl.SSLContext:
    """TLS 1.2 or later; the broker's certificate and host name are always checked.

    A key with a pass phrase takes `ssl_key_password`; nobody is asked for it. Raises `OSError` that
    names the setting and its file when that cannot be read.
    """
    authorities, ours = settings.ssl_ca_location, settings.ssl_certificate_location
    with _reading("ssl_ca_location", authorities):
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ours:
        with _reading("ssl_certificate_location, with ssl_key_location,", ours):
            _load(context, settings, ours)
    return context


def _load(context: ssl.SSLContext, settings: MessagingSettings, certificate: str) -> None:
    """Without a function that answers, OpenSSL would ask at the terminal, and the whole process wait."""
    asked: list[bool] = []

    def pass_phrase() -> bytes:
        asked.append(True)
        given = settings.ssl_key_password
        # Too short for any pass phrase: an empty one would be asked for again, at the terminal.
        return given.get_secret_value().encode() if given else _NONE

    try:
        context.load_cert_chain(certificate, settings.ssl_key_location, pass_phrase)
    except (OSError, ValueError) as error:  # the second for a phrase that is longer than any may be
        if not asked:
            raise
        raise OSError(_ASKS_FOR_ONE if settings.ssl_key_password is None else _ASKS_FOR_ANOTHER) from error


_NONE = b"\0"
_ASKS_FOR_ONE = (
    "the key has a pass phrase: set ssl_key_password to it, or store the key without one "
    "(openssl pkey -in key.pem -out plain.pem)"
)
_ASKS_FOR_ANOTHER = "ssl_key_password is not the pass phrase of the key in ssl_key_location"


@contextmanager
def _reading(setting: str, path: str | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"{setting} is {path}: {error.strerror or error}") from error


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, provide: Callable[[], Awaitable[str]]) -> None:
        self._provide = provide

    async def token(self) -> str:
        # Any other exception would end the engine's metadata task for good.
        try:
            return await self._provide()
        except Exception as error:
            raise KafkaConnectionError(f"the token provider failed: {type(error).__name__}") from error
