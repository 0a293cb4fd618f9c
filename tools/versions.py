"""Runs what a service needs of Kafka on one version of it after another, by Maven; a line about each.

python -m tools.versions 3.3.2 4.0.2
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOGS = Path(__file__).parents[1] / "build" / "versions"

CORE = (
    # publish, fetch, commit, share and lose partitions, with what memory promises as well
    "tests/promises/test_carrying.py",
    "tests/promises/test_fetching.py",
    "tests/promises/test_groups.py",
    "tests/promises/test_log_reader.py",
    "tests/promises/test_optional_topics.py",
    # a bus: order, retries, letters of all kinds of bad input, what was finished above the commit
    "tests/promises/test_bus_handling.py",
    "tests/promises/test_bus_bad_input.py",
    "tests/promises/test_bus_forged_commits.py",
    # whole services: two processes on three brokers, one stopped and started again; .NET beside us
    "tests/stories/test_a_fleet.py",
    "tests/stories/test_beside_dotnet.py",
    # topics made and asked for their limits, rights granted and withdrawn, static members
    "tests/bus/test_letters_over_kafka.py",
    "tests/settings/effects/test_topics.py",
    "tests/settings/effects/test_membership.py",
    "tests/transport/kafka/test_rights.py",
    # where versions answer differently: joining and leaving, metadata of commits, offsets that are
    # gone, gaps and markers in the log, batches too large
    "tests/transport/kafka/consumer/test_groups.py",
    "tests/transport/kafka/consumer/test_membership.py",
    "tests/transport/kafka/offsets/test_commit.py",
    "tests/transport/kafka/offsets/test_losses.py",
    "tests/transport/kafka/consumer/test_gaps.py",
    "tests/transport/kafka/engine/batches/test_markers.py",
    "tests/transport/kafka/producer/test_too_large.py",
)
"""What a service needs of a broker. How fast we are, and SCRAM, which 3.3 has not in KRaft, is not here."""

SELECTED = ("-m", "kafka and not faults and not long")


def run(version: str) -> tuple[bool, str]:
    """Whether all passed, and a line about it. What pytest printed is a file in `build/versions`."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{version}.log"
    with log.open("w") as out:
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *SELECTED, *CORE],
            env={**os.environ, "KAFKA_TEST_VERSION": version, "REQUIRE_KAFKA": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    passed = ran.returncode == 0
    return passed, f"Apache Kafka {version}: {_sum(log.read_text())}" + ("" if passed else f"; see {log}")


def _sum(printed: str) -> str:
    """pytest's own last line; what processes say when they end may come after it."""
    sums = [line.strip("= ") for line in printed.splitlines() if line.startswith("=") and " in " in line]
    return sums[-1] if sums else "pytest did not come to its end"


def main(*versions: str) -> None:
    passed = True
    for version in versions:
        well, line = run(version)
        print(line, flush=True)
        passed = passed and well
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
