"""Connections that give credentials to nobody who should not have them, and hear when they are refused."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from aiokafka import client as engine_client
from aiokafka.conn import AIOKafkaConnection, CloseReason, OAuthAuthenticator, ScramAuthenticator
from aiokafka.errors import AuthenticationFailedError

from convex_messaging_fastapi.settings.field_types import is_loopback
from convex_messaging_fastapi.transport.kafka.engine.ours import at_work

FEWEST_ITERATIONS, MOST_ITERATIONS = 4096, 1_000_000
"""Of SCRAM. With fewer (RFC 7677) whoever listens guesses the password soon; more take a thread away."""

_MISREAD = (AssertionError, AttributeError, KeyError, TypeError, ValueError)
"""What the engine raises when it reads an answer that is none."""

_GO_ON = b"\x01"


class Distrusted(AuthenticationFailedError):  # type: ignore[misc]
    """This side refuses to log in, and says why. Nothing that helps to guess a password was sent."""


class _Bearer(OAuthAuthenticator):  # type: ignore[misc]
    async def step(self, payload: bytes | None) -> Any:
        # A refusal comes as one more challenge. Only once that is answered does the broker say that
        # it refuses (RFC 7628, 3.2.3); without an answer it misreads the next request as one.
        return (_GO_ON, True) if payload else await super().step(payload)


class _Scram(ScramAuthenticator):  # type: ignore[misc]
    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        if not FEWEST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise Distrusted(
                f"the broker asks for {iterations} iterations of SCRAM, and this side takes "
                f"{FEWEST_ITERATIONS} to {MOST_ITERATIONS}: store the user's credentials with one of those"
            )
        super().create_salted_password(salt, iterations)

    def process_server_final_message(self, server_final: str) -> None:
        try:
            super().process_server_final_message(server_final)
        except ValueError as error:
            raise Distrusted("the broker does not know this user's SCRAM credentials itself") from error


class Renewable(ssl.SSLContext):
    """A context as of when it was made. Every connection asks it for one as of now."""

    renewed: Callable[[], ssl.SSLContext]

    @classmethod
    def of(cls, context: ssl.SSLContext, renewed: Callable[[], ssl.SSLContext]) -> Renewable:
        context.__class__ = cls
        renewable: Renewable = context  # type: ignore[assignment]
        renewable.renewed = renewed
        return renewable


class CandidConnection(AIOKafkaConnection):  # type: ignore[misc]
    """Looks at where it goes before it says who it is.

    Brokers advertise other addresses than those in the settings, so it is each connection's matter.
    """

    anywhere = False
    """Whether credentials may go unencrypted to hosts that are not loopback."""
    _ssl_context: Any
    _sasl_plain_password: Any

    @property
    def versions(self) -> Mapping[int, tuple[int, int]]:
        """Which versions of each kind of request the broker takes, the first and the last; by its number."""
        return dict(self._versions)

    async def connect(self) -> Any:
        if sentence := exposure(self._security_protocol, self.host, self.port, anywhere=self.anywhere):
            raise Distrusted(sentence)
        if isinstance(self._ssl_context, Renewable):
            self._ssl_context = self._ssl_context.renewed()
        return await super().connect()

    async def _do_sasl_handshake(self) -> None:
        try:
            if callable(self._sasl_plain_password):
                self._sasl_plain_password = self._sasl_plain_password()
            await self._log_in()
        except Distrusted as error:
            self.close(reason=CloseReason.AUTH_FAILURE, exc=error)
            raise

    async def _log_in(self) -> None:
        try:
            await super()._do_sasl_handshake()
        except _MISREAD as error:
            # The engine expects none of these, and would never try again.
            raise Distrusted("the broker's answer to the login cannot be read") from error

    def authenticator_oauth(self) -> _Bearer:
        return _Bearer(sasl_oauth_token_provider=self._sasl_oauth_token_provider)

    def authenticator_scram(self) -> _Scram:
        return _Scram(
            loop=self._loop,
            sasl_plain_password=self._sasl_plain_password,
            sasl_plain_username=self._sasl_plain_username,
            sasl_mechanism=self._sasl_mechanism,
        )


def exposure(protocol: str, host: str, port: int, *, anywhere: bool) -> str | None:
    """Why no credentials are sent to this address; `None` where they may go there."""
    if protocol != "SASL_PLAINTEXT" or anywhere or is_loopback(f"{host}:{port}"):
        return None
    return (
        f"a broker says that it is to be reached at {host}:{port}, and SASL_PLAINTEXT would send "
        "credentials there unencrypted: choose SASL_SSL, let the broker advertise a loopback address, or "
        "set allow_plaintext_credentials to true if the network may see them"
    )


def make_candid_connections() -> None:
    """Let the engine make connections of ours where it works for us."""
    theirs = engine_client.create_conn

    @wraps(theirs)
    async def create_conn(host: str, port: int, **options: Any) -> Any:
        if (ours := at_work()) is None:
            return await theirs(host, port, **options)
        connection = CandidConnection(host, port, **options)
        connection.anywhere = ours.anywhere
        await connection.connect()
        return connection

    engine_client.create_conn = create_conn
