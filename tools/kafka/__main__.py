"""`python -m tools.kafka` runs one broker on localhost:9092 until it is interrupted."""

from __future__ import annotations

import signal
import time

from tools.kafka.opening import open_cluster


def main() -> None:
    """One broker in the foreground."""
    began = time.monotonic()
    with open_cluster(1, (9092,)) as cluster:
        seconds = time.monotonic() - began
        print(
            f"{cluster.origin} is ready on localhost:9092 after {seconds:.1f} s; Ctrl-C ends it", flush=True
        )
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
