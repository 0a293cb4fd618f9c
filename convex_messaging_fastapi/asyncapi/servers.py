"""The brokers of a bus and how to log in there, without who does."""

from __future__ import annotations

from typing import Any

from convex_messaging_fastapi.settings import MessagingSettings

_LOGINS: dict[str, tuple[str, dict[str, Any]]] = {
    "PLAIN": ("saslPlain", {"type": "plain"}),
    "SCRAM-SHA-256": ("saslScramSha256", {"type": "scramSha256"}),
    "SCRAM-SHA-512": ("saslScramSha512", {"type": "scramSha512"}),
    "OAUTHBEARER": ("saslOauthbearer", {"type": "oauth2", "flows": {}}),
}
_CERTIFICATE = ("clientCertificate", {"type": "X509"})


def servers_of(settings: MessagingSettings) -> dict[str, Any]:
    """One for each address; none of a broker in memory, which only its own process can reach."""
    if settings.is_memory:
        return {}
    described: dict[str, Any] = {"protocol": "kafka-secure" if settings.uses_tls else "kafka"}
    if logins := logins_of(settings):
        described["security"] = [{"$ref": f"#/components/securitySchemes/{name}"} for name in logins]
    hosts = settings.bootstrap_servers.split(",")
    names = ["kafka"] if len(hosts) == 1 else [f"kafka-{n}" for n in range(1, len(hosts) + 1)]
    return {name: {"host": host, **described} for name, host in zip(names, hosts, strict=True)}


def logins_of(settings: MessagingSettings) -> dict[str, Any]:
    """The security schemes, by name."""
    if settings.is_memory:
        return {}
    if settings.uses_sasl:
        name, scheme = _LOGINS[settings.sasl_mechanism]
        return {name: scheme}
    if settings.uses_tls and settings.ssl_certificate_location:
        name, scheme = _CERTIFICATE
        return {name: scheme}
    return {}
