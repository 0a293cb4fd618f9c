"""Brokers that die, freeze, restart and come back: F1 to F5, F12, F18 and F19 of the fault matrix."""

from __future__ import annotations

import pytest

from tests.faults.crew import Crew
from tests.faults.trial import Trials

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


def test_the_leader_of_a_busy_partition_is_killed(crew_on_three: Crew, trials: Trials) -> None:
    with trials.run("F2 kill -9 of a leader", crew_on_three, workers=2) as trial:
        cluster = crew_on_three.cluster
        with trial.fault("kill -9 of the leader"):
            cluster.leader(trial.topic).kill()
            trial.handle_more(500)
            cluster.heal()
        trial.handle_more(300)
