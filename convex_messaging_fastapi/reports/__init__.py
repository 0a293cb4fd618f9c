"""Every line of this package's log, one function or method an event; nothing else writes one.

All come from one logger, `convex_messaging_fastapi`. Each is one line: control characters in texts of others
are escaped, and texts are cut. A line about a message has its place and its ids as `extra`; no line holds a
payload or a secret. The text of a handler's exception is told unless the setting `error_texts` is false.
"""

from __future__ import annotations

from convex_messaging_fastapi.reports.groups import (
    cannot_read,
    commits_fail,
    commits_work,
    engine_replaced,
    group_complaint,
    header_mended,
    instance_not_claimed,
    metadata_refused,
    no_answer,
    not_known_yet,
    part_goes_on,
    part_suffers,
    passed_over,
    paused,
    pauses_not_known,
    records_lost,
    resumed,
    session_over,
    topic_not_made,
    topics_missing,
)
from convex_messaging_fastapi.reports.messages import (
    AtWork,
    cannot_bury,
    discarded,
    given_up,
    held,
    more_given_up,
    unhandled,
)
from convex_messaging_fastapi.reports.observer import (
    LogLines,
)
from convex_messaging_fastapi.reports.process import (
    bus_starts,
    bus_stopped,
    default_group,
    defect,
    details_failed,
    draining,
    handler_joins,
    handler_leaves,
    loop_blocked,
    loop_goes_on,
    never_started,
    settings,
    step_was_late,
    stop_cancelled,
)

__all__ = [
    "AtWork",
    "LogLines",
    "bus_starts",
    "bus_stopped",
    "cannot_bury",
    "cannot_read",
    "commits_fail",
    "commits_work",
    "default_group",
    "defect",
    "details_failed",
    "discarded",
    "draining",
    "engine_replaced",
    "given_up",
    "group_complaint",
    "handler_joins",
    "handler_leaves",
    "header_mended",
    "held",
    "instance_not_claimed",
    "loop_blocked",
    "loop_goes_on",
    "metadata_refused",
    "more_given_up",
    "never_started",
    "no_answer",
    "not_known_yet",
    "part_goes_on",
    "part_suffers",
    "passed_over",
    "paused",
    "pauses_not_known",
    "records_lost",
    "resumed",
    "session_over",
    "settings",
    "step_was_late",
    "stop_cancelled",
    "topic_not_made",
    "topics_missing",
    "unhandled",
]
