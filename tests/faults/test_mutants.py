"""An engine made wrong fails the tests that are named for it here, in seconds and without a Kafka.

`test_mutants_caught.py` lets those of `MUTANTS` work on a real one, and the checks of a run find them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bus.test_commit_safety import TOO_FAR
from tests.faults.forge import Forge, forge
from tests.faults.mutants import MUTANTS, OF_OPERATING, VARIABLE

SAFETY = "tests/bus/test_commit_safety.py"
LOWER = f"{SAFETY}::test_no_commit_passes_a_lower_message_when_higher_ones_are_finished"
HANDED_OUT = f"{SAFETY}::test_no_commit_passes_messages_that_were_only_handed_out"
LETTER = f"{SAFETY}::test_no_commit_passes_a_message_whose_letter_is_not_acknowledged"
WORKER = "tests/consuming/test_worker.py"
REPLAYS = "tests/consuming/test_replays.py"
REPLAYER = "tests/operations/replaying/test_replayer.py"
LISTING = "tests/operations/test_listing.py"

COMMITS: Mapping[str, set[str]] = {
    "commit_the_highest_finished_offset": {LOWER, LETTER},
    "commit_positions_on_a_timer": {LOWER, HANDED_OUT, LETTER},
    "do_not_await_a_burial": {LETTER},
}
"""Which of the three tests of safe commits each fails; it must pass the others."""

OTHERS: Mapping[str, set[str]] = {
    "acknowledge_in_finally": {
        f"{WORKER}::test_a_handler_that_outlives_the_drain_is_cancelled_and_its_message_is_not_done",
    },
    "do_not_drain_what_is_revoked": {
        f"{WORKER}::test_a_revocation_waits_for_running_handlers_commits_and_begins_nothing_more",
    },
    "commit_again_under_the_next_assignment": {
        f"{WORKER}::test_what_an_assignment_could_not_commit_is_not_committed_under_the_next_one",
    },
    "handle_a_key_side_by_side": {
        "tests/bus/test_handling.py::test_one_key_keeps_its_order_while_it_fails_and_others_go_on",
    },
    "use_the_ledger_of_an_earlier_assignment": {
        f"{WORKER}::test_what_an_old_assignment_finishes_late_is_not_committed_under_the_new_one",
    },
    "drop_what_was_taken_beside_a_failure": {
        "tests/transport/kafka/consumer/test_consumer.py::test_a_partition_that_cannot_be_read_costs_no_record_of_any",
    },
    "tell_what_is_handed_out_as_finished": {
        "tests/consuming/test_ledger.py::test_what_is_finished_above_the_prefix_is_told_in_runs",
    },
    "tie_liveness_to_the_broker": {
        "tests/plugin/test_health.py"
        "::test_every_situation_is_answered_with_its_code_and_a_closed_body[broker unreachable]",
    },
    "take_a_refusal_for_an_acknowledgement": {
        "tests/publishing/test_outcomes.py"
        "::test_a_refused_message_fails_at_once_and_the_rest_goes_on[at once]",
    },
    "share_the_outcome_of_a_commit": {
        "tests/transport/kafka/offsets/test_storing.py"
        "::test_whatever_is_answered_of_one_partition_the_others_are_stored[3]",
    },
    "never_forget_a_complaint": {
        "tests/transport/kafka/recovery/test_complaints.py"
        "::test_a_complaint_ends_with_a_fetch_that_is_answered_well_though_nothing_is_read"
        "[False-7-Problem.NOT_AUTHORIZED]",
    },
    "ask_once_for_an_answer_that_is_owed": {
        "tests/transport/kafka/engine/connections/test_pinging.py"
        "::test_an_answer_that_is_owed_is_chased_again_and_again_in_one_silence_and_not_more_often",
    },
    "join_as_another_without_leaving": {
        "tests/transport/kafka/engine/groups/test_ghosts.py::test_the_one_he_was_leaves_while_he_waits_to_join[25-1]",
    },
    "give_no_attempts_back": {
        "tests/consuming/test_breaking.py::test_attempts_are_given_back_when_it_opens",
        "tests/promises/test_bus_breaker.py"
        "::test_what_failed_in_one_outage_has_all_its_attempts_in_the_next[memory]",
    },
    "write_states_before_copies": {
        f"{REPLAYER}::test_whatever_becomes_of_a_transaction_each_letter_is_copied_once"
        "[write-2-before-Fate.FAILED]",
    },
    "ignore_the_group_of_a_copy": {
        f"{REPLAYS}::test_a_copy_for_another_group_is_passed_over[other]",
    },
    "ignore_the_handler_of_a_copy": {
        f"{REPLAYS}::test_a_copy_is_given_to_the_subscription_that_it_names_alone_and_as_the_original",
    },
    "take_the_state_of_whatever_stood_there": {
        f"{LISTING}::TestStates::test_a_state_of_another_letter_at_the_same_place_does_not_count",
    },
    "begin_replay_topics_where_the_policy_says": {
        "tests/transport/memory/test_consumer.py"
        "::test_an_optional_topic_is_read_from_its_beginning_also_by_a_group_that_begins_at_the_end",
    },
    "join_no_duplicates": {
        f"{LISTING}::TestDuplicates::test_the_lowest_offset_stands_for_all_of_them",
        "tests/promises/test_replaying.py::test_a_letter_that_was_written_twice_is_copied_once[memory]",
    },
}


EVERY_TEST = set[str]().union(*COMMITS.values(), *OTHERS.values())


@pytest.fixture(scope="module")
def forged() -> Iterator[Forge]:
    with forge(EVERY_TEST) as one:
        yield one


@pytest.mark.parametrize("mutant", COMMITS)
def test_a_mutant_fails_the_tests_of_safe_commits_that_are_named_for_it(
    forged: Forge, mutant: str, tmp_path: Path
) -> None:
    ended = run(forged, tmp_path, mutant, {LOWER, HANDED_OUT, LETTER})

    assert {name for name, why in ended.items() if why} == COMMITS[mutant]
    assert all(TOO_FAR in why for why in ended.values() if why), ended


@pytest.mark.parametrize("mutant", OTHERS)
def test_a_mutant_fails_the_test_that_is_named_for_it(forged: Forge, mutant: str, tmp_path: Path) -> None:
    ended = run(forged, tmp_path, mutant, OTHERS[mutant])

    assert set(ended) == OTHERS[mutant]
    assert all("assert" in why.lower() or "TimeoutError" in why for why in ended.values()), ended


def test_without_a_mutant_the_same_tests_pass(forged: Forge, tmp_path: Path) -> None:
    assert run(forged, tmp_path, "", EVERY_TEST) == dict.fromkeys(EVERY_TEST, "")


def test_every_mutant_has_its_tests() -> None:
    assert {*COMMITS, *OTHERS} == {*MUTANTS, *OF_OPERATING}


def run(forge: Forge, folder: Path, mutant: str, tests: set[str]) -> dict[str, str]:
    """Why each of them failed - nothing if it passed - in a process whose engine is that mutant."""
    report, log = folder / "report.xml", folder / "log"
    options = ("-p", "tests.faults.mutants", "-p", "no:cacheprovider", f"--junitxml={report}", "-q")
    forge.run(VARIABLE, mutant, [*options, "--timeout=30", *sorted(tests)], log)
    assert report.exists(), log.read_text()
    cases = ElementTree.parse(report).iter("testcase")  # noqa: S314 - pytest wrote it just now
    return {name_of(case): why(case) for case in cases}


def name_of(case: ElementTree.Element) -> str:
    module, in_class, of_class = case.attrib["classname"].partition(".Test")
    inside = f"Test{of_class}::" if in_class else ""
    return f"{module.replace('.', '/')}.py::{inside}{case.attrib['name']}"


def why(case: ElementTree.Element) -> str:
    return " ".join(found.attrib.get("message", "") for found in case if found.tag in {"failure", "error"})
