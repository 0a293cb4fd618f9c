"""A connection that hears when its bearer token is refused, which the engine takes for being let in."""

from __future__ import annotations

from typing import Any

from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator

_GO_ON = b"\x01"


class _Authenticator(OAuthAuthenticator):  # type: ignore[misc]
    async def step(self, payload: bytes | None) -> Any:
        # A refusal comes as one more challenge. Only once that is answered does the broker say that
        # it refuses (RFC 7628, 3.2.3); without an answer it misreads the next request as one.
        return (_GO_ON, True) if payload else await super().step(payload)


class CandidConnection(AIOKafkaConnection):  # type: ignore[misc]
    def authenticator_oauth(self) -> _Authenticator:
        return _Authenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)
