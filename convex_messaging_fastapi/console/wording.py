"""What each word of a closed list means in a sentence, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Said(NamedTuple):
    """`means` is a sentence; `do` is the next step, empty where there is none."""

    means: str
    do: str = ""


STATUSES: Mapping[str, str] = {
    "failed": "A part of the bus has ended by itself.",
    "down": "The bus is not in contact with Kafka, or it has stopped.",
    "draining": "The bus is ending: it finishes what runs.",
    "starting": "The bus is on its way.",
    "degraded": "The bus works, and something needs a look.",
    "standby": "The bus works; other processes hold all partitions of a group.",
    "up": "All is well.",
}

REASONS: Mapping[str, Said] = {
    "connecting": Said("No broker has answered yet.", "Wait; after a minute run `convex-messaging doctor`."),
    "broker_unreachable": Said(
        "No broker has been heard of for 12 seconds.",
        "Look at the cluster with `convex-messaging doctor`. The bus goes on by itself once it is back.",
    ),
    "auth_failed": Said(
        "Kafka refuses the login.", "Mend user or password; `convex-messaging doctor` says which part."
    ),
    "tls_failed": Said(
        "No encrypted connection can be made.", "`convex-messaging doctor` names the certificate."
    ),
    "not_authorized": Said(
        "A right is missing.",
        "`convex-messaging doctor --app main:app` names it, and the command that grants it. Nobody restarts.",
    ),
    "topic_missing": Said(
        "A topic that is read here does not exist.",
        "Create it: `convex-messaging topics create --from-app --app main:app --yes`.",
    ),
    "group_refused": Said("Kafka refuses this member of the group.", "The log says which setting to mend."),
    "no_coordinator": Said(
        "Brokers answer, and the group has no coordinator.",
        "Look at the cluster's `__consumer_offsets`: is it there, with its leaders?",
    ),
    "unreadable": Said(
        "A batch cannot be read, and its partition waits.",
        "The log names the offset: mend the broker's disk, or set KAFKA_UNREADABLE=bury.",
    ),
    "engine_failed": Said("The Kafka client failed, and is made anew.", "Keep the log, and tell us."),
    "not_started": Said(
        "The bus has not been set going.", "Wait until the app's lifespan has begun; its log says why not."
    ),
    "starting": Said("The bus is starting.", "Wait."),
    "draining": Said("The bus is ending.", "Wait; the next process takes over."),
    "stopped": Said("The bus has ended.", "Start the app again."),
    "task_failed": Said(
        "A task of the bus has ended by itself.", "Restart this process, keep its log, and tell us."
    ),
    "joining": Said(
        "This process is not yet a member of its group.",
        "Wait; after a minute run `convex-messaging doctor --app main:app`.",
    ),
    "rebalancing": Said(
        "Partitions are moving between processes.", "Wait; a handler that does not return may hold it up."
    ),
    "dlq_unavailable": Said(
        "A dead letter cannot be written, so its partition waits.",
        "`convex-messaging doctor --app main:app`: look at the lines `dead letters` and `rights`.",
    ),
    "dead_letter_held": Said(
        "A message that failed is held, and its partition waits.",
        "Mend what it fails on, and restart this process.",
    ),
    "breaker_open": Said(
        "What a handler needs is away, so it begins nothing.",
        "Mend what the log names. It goes on by itself; resume it to go on at once.",
    ),
    "paused": Said(
        "Somebody has paused a handler.",
        "Subscriptions says who and why, and has the button that resumes it.",
    ),
    "records_lost": Said(
        "Messages were gone before they were read.",
        "Give the topic a retention that is longer than your longest outage.",
    ),
    "commits_failing": Said(
        "Offsets cannot be stored, so what is handled may come again.",
        "`convex-messaging doctor --app main:app`: look at the lines `group` and `rights`.",
    ),
    "buffer_full": Said(
        "One partition fills at least half of the buffer.",
        "A key is slow or fails: look at its handler's p95 and failures.",
    ),
    "outbox_database_unreachable": Said(
        "The database of an outbox does not answer, or is refused.",
        "Look at the database: messages wait in it. Why it is refused stands on the page Outboxes.",
    ),
    "outbox_no_relay": Said(
        "No process publishes what an outbox holds.",
        "Start one with `relay=True`, or `convex-messaging relay`.",
    ),
    "outbox_parked": Said(
        "An outbox holds messages that cannot be written as they are.",
        "`convex-messaging outbox parked main:outbox` shows them; replay or drop them.",
    ),
    "outbox_stalled": Said(
        "Messages of an outbox wait too long, although Kafka answers.",
        "Look at the topics that are held on the page Outboxes: create them, or grant the right.",
    ),
    "threads_stuck": Said(
        "Calls that were given up still hold threads.", "Give what they call a timeout, and restart."
    ),
}

STATES: Mapping[str, Said] = {
    "open": Said("Nothing was done about it yet."),
    "waiting": Said("It was copied for its handler, which has not reached the copy yet."),
    "replayed": Said("It was handled again, and no new failure is known."),
    "failed_again": Said("It was replayed and failed again: the newer letter says why."),
    "discarded": Said("Somebody decided that nobody needs it."),
    "unknown": Said("What was done about it cannot be read."),
}

VERDICTS: Mapping[str, Said] = {
    "accepted": Said("would be accepted", "Its handler would be given it. Whether that succeeds is its own."),
    "refused": Said("would be refused", "It cannot be decoded: mend the message's type, or discard it."),
    "no_handler": Said("no such handler", "This app has no handler of this name: name another one."),
    "not_known_here": Said("not known here", "Its group is another app's: validate it in that one."),
    "not_in_letter": Said("not in the letter", "The letter does not hold the message."),
}

NOT_REPLAYED: Mapping[str, str] = {
    "too_many_replays": "was replayed as often as is allowed, and failed each time",
    "unreadable": "nobody knows what it holds",
    "names_cut": "its group or handler was too long for the letter",
    "no_handler": "does not say whose it is: replay it to its topic",
    "payload_gone": "does not hold the message, and the topic has it no more",
    "too_large": "is larger than its target takes",
    "gone": "its topic kept it no longer",
}

JOBS: Mapping[str, Said] = {
    "planned": Said("Nothing was written."),
    "running": Said("It is under way."),
    "done": Said("It is done."),
    "stopped": Said("It was stopped between two slices.", "Run it again to do what is left."),
    "failed": Said("It failed.", "Mend what it names, and run it again: it does what is left."),
    "interrupted": Said(
        "Its process has said nothing for ten seconds.",
        "Run it again: what it has done stays done, and each letter is copied once.",
    ),
}

DONE: Mapping[str, str] = {
    "paused": "It is paused: all processes of the service hear of it within five seconds.",
    "paused_here": "It is paused in this process.",
    "resumed": "It goes on: all processes of the service hear of it within five seconds.",
    "resumed_here": "It goes on in this process.",
    "long": "It is under way, and takes longer: its line below says how far it is.",
}
"""What a page says after something was done, by the word in its address."""
