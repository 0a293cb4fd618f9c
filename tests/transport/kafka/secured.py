"""A real Kafka that lets nobody in without showing who they are: one broker, a listener for each way."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.kafka import by_maven
from tools.kafka.cluster import Cluster
from tools.kafka.common import HOST, free_ports

# Advertised under this name, which is what the certificate says; the address is the wrong name.
NAME = "localhost"
USER, PASSWORD = "alice", "alice-secret"

_LISTENERS = {
    "PLAINTEXT": HOST,
    "SASLP": HOST,
    "SASLS": NAME,
    "TLS": NAME,
    "MTLS": NAME,
    "EXPIRED": NAME,
    "OAUTH": HOST,
    "BRIEF": HOST,
}
_PROTOCOLS = {
    "PLAINTEXT": "PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
    "SASLP": "SASL_PLAINTEXT",
    "SASLS": "SASL_SSL",
    "TLS": "SSL",
    "MTLS": "SSL",
    "EXPIRED": "SSL",
    "OAUTH": "SASL_PLAINTEXT",
    "BRIEF": "SASL_PLAINTEXT",
}
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_BEARER = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    f'unsecuredLoginStringClaim_sub="{USER}";'
)
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True)
class Secured:
    """Addresses by listener, and the folder of certificates: `ca.crt`, `other.crt`, `broker.pem`.

    `EXPIRED` shows a certificate of yesterday, `OAUTH` takes tokens that nobody has signed, and
    `BRIEF` drops every connection a moment after its login.
    """

    cluster: Cluster
    addresses: dict[str, str]
    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / name)


@contextmanager
def secured_cluster(folder: Path) -> Iterator[Secured]:
    """Raises `Unavailable` without a Java or the jars."""
    _make_certificates(folder)
    free = free_ports()
    ports = {listener: next(free) for listener in _LISTENERS}
    with ExitStack() as ends:
        extras = by_maven.Extras(_properties(folder, ports, next(free)), _scram_users())
        cluster = by_maven.start(1, ends, [ports["PLAINTEXT"]], extras)
        cluster.wait_ready()
        yield Secured(cluster, {name: f"{host}:{ports[name]}" for name, host in _LISTENERS.items()}, folder)


def _properties(folder: Path, ports: dict[str, int], controller: int) -> dict[str, str]:
    every = {f"listener.name.{listener}": listener for listener in ("saslp", "sasls")}
    return {
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": ",".join(
            [
                *(f"{name}://{HOST}:{port}" for name, port in ports.items()),
                f"CONTROLLER://{HOST}:{controller}",
            ]
        ),
        "advertised.listeners": ",".join(
            f"{name}://{host}:{ports[name]}" for name, host in _LISTENERS.items()
        ),
        "listener.security.protocol.map": ",".join(f"{name}:{how}" for name, how in _PROTOCOLS.items()),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.crt"),
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.expired.ssl.keystore.type": "PEM",
        "listener.name.expired.ssl.keystore.location": str(folder / "expired.pem"),
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": _BEARER,
        "listener.name.brief.sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "listener.name.brief.scram-sha-256.sasl.jaas.config": _SCRAM,
        "listener.name.brief.scram-sha-256.connections.max.reauth.ms": "1000",
        **{f"{name}.plain.sasl.jaas.config": f'{_PLAIN} user_{USER}="{PASSWORD}";' for name in every},
        **{f"{name}.scram-sha-256.sasl.jaas.config": _SCRAM for name in every},
        **{f"{name}.scram-sha-512.sasl.jaas.config": _SCRAM for name in every},
    }


def _scram_users() -> tuple[str, ...]:
    user = f"[name={USER},password={PASSWORD}]"
    return ("--add-scram", f"SCRAM-SHA-256={user}", "--add-scram", f"SCRAM-SHA-512={user}")


def _make_certificates(folder: Path) -> None:
    for name in ("ca", "other"):
        _openssl(
            folder,
            f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt "
            "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign",
        )
    (folder / "names").write_text(f"subjectAltName=DNS:{NAME}\nextendedKeyUsage=serverAuth,clientAuth\n")
    # Good for no day at all: over the moment it is made.
    for name, days in (("broker", 2), ("expired", 0)):
        _openssl(folder, f"req -newkey rsa:2048 -nodes -subj /CN={NAME} -keyout {name}.key -out {name}.csr")
        _openssl(
            folder,
            f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days {days} -out {name}.crt "
            "-extfile names",
        )
        parts = (f"{name}.key", f"{name}.crt", "ca.crt")
        (folder / f"{name}.pem").write_text("".join((folder / part).read_text() for part in parts))


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True, timeout=60)
