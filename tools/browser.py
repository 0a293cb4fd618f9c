"""The Chromium that the browser tests drive: the one on the PATH, else Debian's package, installed.

No library downloads one for us: what runs here is what the machine's own packages know of and mend.
"""

from __future__ import annotations

import shutil

from tools.machine import apt_install

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HELP = "apt-get install chromium, or put chromium or google-chrome on the PATH"


def find() -> str | None:
    """Its path; `None` where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def provide() -> None:
    """See to it that there is one, and say so when there will be none."""
    if find() is None:
        apt_install("chromium")
    if find() is None:
        print(f"no browser here: {HELP}")


if __name__ == "__main__":
    provide()
