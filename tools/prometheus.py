"""Prometheus's own programs: those on the PATH, else Debian's package, unpacked in `build` and not installed.

Installed, the package would run a Prometheus as a service of the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PROGRAMS = ("promtool", "prometheus")
HELP = "apt-get install prometheus, or put promtool and prometheus on the PATH"
UNPACKED = Path(__file__).parents[1] / "build" / "prometheus"


def find(program: str) -> str | None:
    """Its path; `None` where it is not here."""
    return shutil.which(program) or shutil.which(program, path=UNPACKED / "usr" / "bin")


def provide() -> None:
    """See to it that both are here, and say so when they will not be."""
    if all(map(find, PROGRAMS)):
        return
    if (apt := shutil.which("apt-get")) is not None:
        print("fetching Prometheus", flush=True)
        UNPACKED.mkdir(parents=True, exist_ok=True)
        if not _fetched(apt) and os.geteuid() == 0:
            subprocess.run([apt, "-qq", "update"], stdin=subprocess.DEVNULL, check=False)
            _fetched(apt)
    if not all(map(find, PROGRAMS)):
        print(f"no Prometheus here: {HELP}")


def _fetched(apt: str) -> bool:
    """Whether the newest package that this machine knows of is unpacked now."""
    # root's downloads are otherwise given to a user who may not write here, which apt complains of
    fetch = [apt, "-qq", "-o", "APT::Sandbox::User=root", "download", "prometheus"]
    if subprocess.run(fetch, cwd=UNPACKED, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        return False
    for package in UNPACKED.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package.name, "."], cwd=UNPACKED, check=True)
        package.unlink()
    return True


if __name__ == "__main__":
    provide()
