"""A real Kafka that asks who may do what, and that names itself wrongly at some of its doors.

One broker with Kafka's own authorizer. Tests come by a door of their own, where they may do
everything; clients come by `SASL`, where a user may do what it was given the right to.

    user = guarded.new_user()
    guarded.grant(user, "READ", topic="orders")
    guarded.grant(user, "READ", group="readers")
    MessagingSettings(**user.settings)
    guarded.withdraw(user, "READ", topic="orders")
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from tests.support.waiting import until
from tools.kafka import by_maven
from tools.kafka.cluster import Cluster
from tools.kafka.common import HOST, free_ports

USERS = 60
NO_SUCH_HOST = "no-such-host.invalid:9092"
"""A name that RFC 2606 promises to nobody."""
NOBODYS = "192.0.2.1:9092"
"""An address of the documentation's network, which leads nowhere."""

_SASL = "SASL"
_ASTRAY = {"CLOSED": "PLAINTEXT", "NAMELESS": "PLAINTEXT", "SASL_ELSEWHERE": "SASL_PLAINTEXT"}
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody whom the broker knows, by SASL/PLAIN over plain text."""

    name: str
    bootstrap: str

    @property
    def password(self) -> str:
        return f"{self.name}-secret"

    @property
    def settings(self) -> dict[str, str]:
        """For `MessagingSettings`: where, and who."""
        return {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_username": self.name,
            "sasl_password": self.password,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables of a process."""
        return {f"KAFKA_{name.upper()}": value for name, value in self.settings.items()}


@dataclass(frozen=True, slots=True)
class Access:
    """What one service may do there, and a way to take some of it back for a while."""

    guarded: Guarded
    user: User

    def may_read(self, topic: str) -> None:
        self.guarded.grant(self.user, "READ", topic=topic)

    def may_not_read(self, topic: str) -> None:
        self.guarded.withdraw(self.user, "READ", topic=topic)


class Guarded:
    """The broker, its doors and its rights. All calls block.

    `cluster.bootstrap` is the door where users show who they are, `cluster.witnessed` the tests'
    own. `astray` are doors by which the broker answers at one address and names itself as another:
    `CLOSED`, where nobody listens, `NAMELESS`, which does not resolve, and `SASL_ELSEWHERE`, which
    is far away and wants a login.
    """

    def __init__(self, cluster: Cluster, astray: Mapping[str, str], named: Mapping[str, str]) -> None:
        self.cluster = cluster
        self.astray = astray
        self.named = named
        """What the broker calls itself at each door of `astray`."""
        self._numbers = count(1)

    @property
    def origin(self) -> str:
        return self.cluster.origin

    def new_user(self) -> User:
        """One that no other test has, and that may do nothing yet."""
        return User(_name(next(self._numbers)), self.cluster.bootstrap)

    def grant(
        self,
        user: User,
        *operations: str,
        topic: str = "",
        group: str = "",
        transactional_id: str = "",
        prefixed: bool = False,
    ) -> None:
        """Let it do this (`READ`, `WRITE`, ...); named nothing: on the cluster. In effect at once.

        With `prefixed` to all whose names begin so.
        """
        bindings = _bindings(user, operations, topic, group, transactional_id, prefixed)
        admin = self.cluster.admin()
        for granted in admin.create_acls(bindings).values():
            granted.result(10)
        until(lambda: self._are_there(bindings), 10, f"{operations} to be granted")

    def withdraw(
        self,
        user: User,
        *operations: str,
        topic: str = "",
        group: str = "",
        transactional_id: str = "",
        prefixed: bool = False,
    ) -> None:
        """Take back what `grant` gave by the same words. In effect at once."""
        bindings = _bindings(user, operations, topic, group, transactional_id, prefixed)
        admin = self.cluster.admin()
        for withdrawn in admin.delete_acls([_filter(binding) for binding in bindings]).values():
            assert withdrawn.result(10), "nothing was withdrawn: it had not been granted"
        until(lambda: not self._found(bindings), 10, f"{operations} to be withdrawn")

    def grant_all(self, user: User, prefix: str) -> None:
        """Whatever a service may need for topics and groups whose names begin so."""
        self.grant(user, "READ", "WRITE", "CREATE", "DESCRIBE", topic=prefix, prefixed=True)
        self.grant(user, "READ", "DESCRIBE", group=prefix, prefixed=True)

    def _are_there(self, bindings: Sequence[AclBinding]) -> bool:
        return len(self._found(bindings)) == len(bindings)

    def _found(self, bindings: Sequence[AclBinding]) -> list[AclBinding]:
        admin = self.cluster.admin()
        return [
            found
            for binding in bindings
            for found in admin.describe_acls(_filter(binding), request_timeout=10).result(10)
        ]


@contextmanager
def guarded_cluster() -> Iterator[Guarded]:
    """A ready one. Raises `Unavailable` without a Java or the jars."""
    free = free_ports()
    ports = {name: next(free) for name in ("PLAINTEXT", _SASL, *_ASTRAY)}
    doors = {name: f"{HOST}:{port}" for name, port in ports.items()}
    with ExitStack() as ends:
        named = {"CLOSED": _closed(next(free), ends), "NAMELESS": NO_SUCH_HOST, "SASL_ELSEWHERE": NOBODYS}
        extras = by_maven.Extras(_properties(doors, doors | named, f"{HOST}:{next(free)}"))
        started = by_maven.start(1, ends, [ports["PLAINTEXT"]], extras)
        started.wait_ready()
        cluster = Cluster(doors[_SASL], started.origin, 1, started.brokers, witnessed=started.bootstrap)
        yield Guarded(cluster, {name: doors[name] for name in _ASTRAY}, named)


def _closed(port: int, ends: ExitStack) -> str:
    """An address where nobody listens, nor will as long as this process has it."""
    closed = ends.enter_context(socket.socket())
    closed.bind((HOST, port))
    return f"{HOST}:{port}"


def _properties(doors: Mapping[str, str], named: Mapping[str, str], controller: str) -> dict[str, str]:
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", _SASL: "SASL_PLAINTEXT", **_ASTRAY}
    users = " ".join(f'user_{name}="{name}-secret"' for name in map(_name, range(1, USERS + 1)))
    logins = [name for name, protocol in protocols.items() if protocol == "SASL_PLAINTEXT"]
    return {
        "controller.quorum.voters": f"1@{controller}",
        "listeners": _listeners({**doors, "CONTROLLER": controller}),
        "advertised.listeners": _listeners(named),
        "listener.security.protocol.map": ",".join(f"{name}:{how}" for name, how in protocols.items()),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN",
        **{f"listener.name.{name.lower()}.plain.sasl.jaas.config": f"{_PLAIN} {users};" for name in logins},
    }


def _listeners(addresses: Mapping[str, str]) -> str:
    return ",".join(f"{name}://{address}" for name, address in addresses.items())


def _name(number: int) -> str:
    assert number <= USERS, f"there are only {USERS} users: let the broker know of more"
    return f"user-{number}"


def _bindings(
    user: User, operations: Sequence[str], topic: str, group: str, transactional_id: str, prefixed: bool
) -> list[AclBinding]:
    named = (
        (ResourceType.TOPIC, topic),
        (ResourceType.GROUP, group),
        (ResourceType.TRANSACTIONAL_ID, transactional_id),
    )
    kind, name = next((each for each in named if each[1]), (ResourceType.BROKER, "kafka-cluster"))
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    return [
        AclBinding(
            kind, name, pattern, f"User:{user.name}", "*", AclOperation[operation], AclPermissionType.ALLOW
        )
        for operation in operations
    ]


def _filter(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )
