"""One `group_instance_id` for each process, also if several on one machine were given the same.

The workers of one server share their environment, and so the id. Under one id they would take each
other's place in the group by turns, at every heartbeat, and no log would tell.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from convex_messaging_fastapi import reports

try:
    import fcntl
except ImportError:  # no such locks on Windows: the id is used as it was given
    fcntl = None  # type: ignore[assignment]

MOST_PROCESSES = 256


class InstanceId:
    """The lowest of `id`, `id-1`, `id-2`, ... that no other living process of this machine has.

    `scope` keeps clusters and groups apart, which may use the same id. A process that dies frees its name at
    once, so the process that replaces it has the name again.
    """

    def __init__(self, id: str | None, scope: str) -> None:
        self.id = id
        self._scope = scope
        self._name = id
        self._lock: int | None = None

    def claim(self) -> str | None:
        """Our name from now until `release`; `None` when membership is not static."""
        if self.id is not None and self._lock is None and fcntl is not None:
            self._name = self._claim_lowest(self.id)
        return self._name

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _claim_lowest(self, id: str) -> str:
        for name in (id, *(f"{id}-{n}" for n in range(1, MOST_PROCESSES))):
            try:
                self._lock = _locked(_file_of(self._scope, name))
            except PermissionError:
                continue  # somebody else's process has it
            except OSError as error:
                reports.instance_not_claimed(id, error)
                return id
            if self._lock is not None:
                return name
        return id


def _file_of(scope: str, name: str) -> Path:
    digest = hashlib.sha256(f"{scope}\0{name}".encode()).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"convex-messaging-{digest}.lock"


def _locked(file: Path) -> int | None:
    """An open file that this process alone has locked, or `None` if another has. Raises `OSError`."""
    # The file is never removed: another process may have it open, waiting for the lock.
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
