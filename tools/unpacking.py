"""Debian's packages, unpacked in a folder of `build` and not installed.

Installed, they would run as services of the machine; and whoever is not root may unpack.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

BUILD = Path(__file__).parents[1] / "build"


def unpack(packages: Sequence[str], folder: Path) -> bool:
    """Whether the newest ones that this machine knows of are unpacked in `folder` now."""
    apt = shutil.which("apt-get")
    if apt is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    if _fetched(apt, packages, folder):
        return True
    if os.geteuid() != 0:
        return False
    subprocess.run([apt, "-qq", "update"], stdin=subprocess.DEVNULL, check=False)
    return _fetched(apt, packages, folder)


def _fetched(apt: str, packages: Sequence[str], folder: Path) -> bool:
    # root's downloads are otherwise given to a user who may not write here, which apt complains of
    fetch = [apt, "-qq", "-o", "APT::Sandbox::User=root", "download", *packages]
    if subprocess.run(fetch, cwd=folder, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        return False
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package.name, "."], cwd=folder, check=True)
        package.unlink()
    return True
