"""How a broker is reached and convinced: addresses, TLS, SASL."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

if TYPE_CHECKING:
    from convex_messaging_fastapi.settings import MessagingSettings

TokenProvider = Callable[[], Awaitable[str]]
"""Answers an OAuth bearer token that is valid now; called once for every connection."""


class Access:
    """What every connection of one bus is made with. Reads no file before it is asked for."""

    def __init__(self, settings: MessagingSettings, token: TokenProvider | None = None) -> None:
        self._settings = settings
        self._token = token

    @property
    def servers(self) -> list[str]:
        return [server.strip() for server in self._settings.bootstrap_servers.split(",") if server.strip()]

    @property
    def protocol(self) -> str:
        return str(self._settings.security_protocol)

    @cached_property
    def credentials(self) -> dict[str, Any]:
        """The engine's keyword arguments about security.

        Raises `OSError` when a certificate or key cannot be read.
        """
        chosen: dict[str, Any] = {"security_protocol": self.protocol}
        if self.protocol in ("SSL", "SASL_SSL"):
            chosen["ssl_context"] = tls_context(self._settings)
        if self.protocol.startswith("SASL"):
            chosen |= self._sasl()
        return chosen

    def _sasl(self) -> dict[str, Any]:
        mechanism = str(self._settings.sasl_mechanism)
        if mechanism == "OAUTHBEARER":
            return {
                "sasl_mechanism": mechanism,
                "sasl_oauth_token_provider": _Tokens(self._token or _no_token),
            }
        password = self._settings.sasl_password
        return {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": self._settings.sasl_username or "",
            "sasl_plain_password": password.get_secret_value() if password else "",
        }


def tls_context(settings: MessagingSettings) -> ssl.SSLContext:
    """TLS 1.2 or later; the broker's certificate and host name are always checked."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=_path(settings.ssl_ca_location))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate := _path(settings.ssl_certificate_location):
        context.load_cert_chain(certificate, _path(settings.ssl_key_location))
    return context


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, provide: TokenProvider) -> None:
        self._provide = provide

    async def token(self) -> str:
        # Any other exception would end the engine's metadata task for good.
        try:
            return await self._provide()
        except Exception as error:
            raise KafkaConnectionError(f"the token provider failed: {type(error).__name__}") from error


async def _no_token() -> str:
    raise RuntimeError("OAUTHBEARER needs a token provider, given in code")


def _path(location: object) -> str | None:
    return str(location) if location else None
