"""Prepares a fresh machine for `make`: a virtual environment, and the Java and Maven that run a real Kafka.

Where it is root and there is apt, it installs what is missing; elsewhere it says what to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

APT = shutil.which("apt-get")


def make_venv(folder: str) -> None:
    """A virtual environment in `folder`, also on a Debian whose Python came without `ensurepip`."""
    if Path(folder, "bin", "pip").exists():  # the last to come: one that was interrupted is made anew
        return
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        if not apt_install("python3-venv"):
            sys.exit("this Python has no ensurepip: install it (on Debian: python3-venv)")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)


def provide_kafka() -> None:
    """See to it that tests find a real Kafka, and say so when they will not."""
    from tools.kafka import by_docker, jars, opening

    if opening.closed(by_docker.engine) is None or os.environ.get(opening.NAMED):
        return
    if opening.closed(jars.provided):
        apt_install("default-jre-headless", "maven")
    if opening.closed(jars.java):  # an older Debian's default is an older Java
        apt_install(f"openjdk-{jars.OLDEST_JAVA}-jre-headless")
    if reason := opening.closed(jars.provided):
        print(f"no real Kafka here, {reason}; or start Docker, or set {opening.NAMED}")


def apt_install(*packages: str) -> bool:
    """Whether they are installed now; without apt, or the right to use it, nothing is tried."""
    if APT is None or os.geteuid() != 0:
        return False
    print(f"installing {' '.join(packages)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([APT, "-qq", "update"], env=quiet, stdin=subprocess.DEVNULL, check=False)
    install = [APT, "-qq", "-y", "--no-install-recommends", "install", *packages]
    return subprocess.run(install, env=quiet, stdin=subprocess.DEVNULL, check=False).returncode == 0


if __name__ == "__main__":
    {"venv": lambda: make_venv(sys.argv[2]), "kafka": provide_kafka}[sys.argv[1]]()
