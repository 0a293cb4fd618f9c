"""How a broker is reached and convinced: addresses, TLS, SASL."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from pydantic import SecretStr

from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.settings.fields import SECRET_FILES
from convex_messaging_fastapi.settings.sources import read_secret
from convex_messaging_fastapi.transport.kafka.engine.connections.connecting import Distrusted, Renewable
from convex_messaging_fastapi.transport.kafka.engine.ours import theirs


class Access:
    """What every connection of one bus is made with. Reads no file before it is asked for."""

    def __init__(self, settings: MessagingSettings) -> None:
        self._settings = settings
        self._tls = _Tls(settings)

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

    @property
    def credentials(self) -> dict[str, Any]:
        """The engine's keyword arguments about security, as the files say now.

        The engine hands them on to its connections, and each asks them anew (`Renewable`, and a
        password that is a function). Raises `OSError` when a certificate or key cannot be read.
        """
        chosen: dict[str, Any] = {"security_protocol": self.protocol}
        if self._settings.uses_tls:
            chosen["ssl_context"] = self._tls.context()
        if self._settings.uses_sasl:
            chosen |= self._sasl()
        return chosen

    def _sasl(self) -> dict[str, Any]:
        mechanism = self._settings.sasl_mechanism
        if (provider := self._settings.oauth_token_provider) is not None and mechanism == "OAUTHBEARER":
            return {"sasl_mechanism": mechanism, "sasl_oauth_token_provider": _Tokens(provider)}
        return {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": self._settings.sasl_username or "",
            "sasl_plain_password": self._password if self._settings.sasl_password_file else self._password(),
        }

    def _password(self) -> str:
        """Raises `Distrusted` where its file has none: this side refuses to log in without."""
        try:
            password = _secret(self._settings, "sasl_password")
        except OSError as error:
            raise Distrusted(f"the password cannot be read: {error}") from None
        return password.get_secret_value() if password else ""


def _secret(settings: MessagingSettings, name: str) -> SecretStr | None:
    """A secret as it is now: set, or in the file that is. Raises `OSError` where that has none."""
    setting = SECRET_FILES[name]
    path: str | None = getattr(settings, setting)
    secret: SecretStr | None = getattr(settings, name)
    return read_secret(setting, path) if path else secret


class _Tls:
    """The context of new connections: made again when one of its files holds something else."""

    def __init__(self, settings: MessagingSettings) -> None:
        self._settings = settings
        self._made: tuple[list[bytes], Renewable] | None = None

    def context(self) -> Renewable:
        """Raises `OSError` when a file cannot be read."""
        contents = [_digest(path) for path in self._files()]
        if self._made is None or self._made[0] != contents:
            # Making one takes up to 30 ms of the loop, reading its files hardly any.
            self._made = contents, Renewable.of(tls_context(self._settings), self.context)
        return self._made[1]

    def _files(self) -> list[str]:
        s = self._settings
        files = [s.ssl_ca_location, s.ssl_certificate_location, s.ssl_key_location, s.ssl_key_password_file]
        return [path for path in files if path]


def _digest(path: str) -> bytes:
    try:
        return sha256(Path(path).read_bytes()).digest()
    except OSError:
        return b""  # the context that is made next says why


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

    given = _secret(settings, "ssl_key_password")

    def pass_phrase() -> bytes:
        asked.append(True)
        # Too short for any pass phrase: an empty one would be asked for again, at the terminal.
        return given.get_secret_value().encode() if given else _NONE

    try:
        context.load_cert_chain(certificate, settings.ssl_key_location, pass_phrase)
    except (OSError, ValueError) as error:  # the second for a phrase that is longer than any may be
        if not asked:
            raise
        raise OSError(_ASKS_FOR_ONE if given is None else _ASKS_FOR_ANOTHER) from error


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
            with theirs():
                return await self._provide()
        except Exception as error:
            raise KafkaConnectionError(f"the token provider failed: {type(error).__name__}") from error
