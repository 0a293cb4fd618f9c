"""Prometheus's own programs: those on the PATH, else Debian's package, unpacked in `build`."""

from __future__ import annotations

import shutil

from tools.unpacking import BUILD, unpack

PROGRAMS = ("promtool", "prometheus")
HELP = "apt-get install prometheus, or put promtool and prometheus on the PATH"
UNPACKED = BUILD / "prometheus"


def find(program: str) -> str | None:
    """Its path; `None` where it is not here."""
    return shutil.which(program) or shutil.which(program, path=UNPACKED / "usr" / "bin")


def provide() -> None:
    """See to it that both are here, and say so when they will not be."""
    if all(map(find, PROGRAMS)):
        return
    if shutil.which("apt-get"):
        print("fetching Prometheus", flush=True)
        unpack(("prometheus",), UNPACKED)
    if not all(map(find, PROGRAMS)):
        print(f"no Prometheus here: {HELP}")


if __name__ == "__main__":
    provide()
