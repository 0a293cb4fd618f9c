"""The state of a member in its group, and faults of it that the engine does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from aiokafka.errors import KafkaError

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.transport.base import Contact, Problem
from convex_messaging_fastapi.transport.kafka.consumer.instance_id import InstanceId
from convex_messaging_fastapi.transport.kafka.consumer.terms import Terms
from convex_messaging_fastapi.transport.kafka.engine import Member
from convex_messaging_fastapi.transport.kafka.offsets import Holding, Ownership
from convex_messaging_fastapi.transport.kafka.recovery import (
    RIVAL,
    Complaints,
    Explanation,
    MissingTopics,
    Supervisor,
    explain_no_coordinator,
)
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

EARLY_SECONDS = 0.25
"""How long before the end of a session handlers are told to end; fetches look more often than this."""


class Membership:
    """One member of one group. `topics` must be there; `optional` topics are read too, and may be missing."""

    def __init__(
        self,
        terms: Terms,
        tuning: Tuning,
        instance: InstanceId,
        supervisor: Supervisor[Member],
        ownership: Ownership,
        complaints: Complaints,
        missing: MissingTopics,
    ) -> None:
        self._terms, self._tuning, self._instance = terms, tuning, instance
        self._supervisor, self._ownership = supervisor, ownership
        self._complaints, self._missing = complaints, missing
        self.topics: tuple[str, ...] = ()
        self.optional: frozenset[str] = frozenset()

    def contact(self) -> Contact:
        """The engine's contact; if that is well, what is wrong with the group."""
        member = self._supervisor.current
        refused = {} if member is None else member.client.refused_topics(self.topics)
        joined = member is not None and member.joined and not self._awaits_topics(refused)
        contact = self._supervisor.contact(member=joined)
        ours = self._complaints.current() or self._without_coordinator() or self._missing.explain(refused)
        if contact.problem is not None or ours is None:
            return contact
        return replace(contact, problem=ours.problem, detail=ours.detail)

    def look(self) -> None:
        """Count as polling, and hear complaints. An engine that does not recover is replaced."""
        member = self._supervisor.current
        if member is None:
            return
        self._missing.look(member.client.refused_topics(self.topics))
        if (rival := self._rival()) is not None:
            self._ownership.membership_lost_at.clear()
            self._complaints.hear_of_rival(rival)
            self._supervisor.replace(member, rival)
            return
        try:
            member.poll()
        except KafkaError as error:
            if (why := self._complaints.hear(error)) is not None:
                self._supervisor.replace(member, why)

    def rejoin_if_out_of_touch(self, holding: Holding) -> bool:
        """Whether another member may hold our partitions by now; then we join the group as a new member.

        A member that is cut off does not learn of it, and would go on: two would handle one record.
        """
        unheard = holding.member.seconds_since_heartbeat()
        if unheard <= self._terms.session_seconds - EARLY_SECONDS:
            return False
        reports.session_over(self._terms.group, unheard)
        holding.member.rejoin_as_new_member()
        return True

    def _rival(self) -> Explanation | None:
        """Why another process seems to use our instance id, which the engine never tells; or `None`."""
        within = self._tuning.rival_seconds
        if self._instance.id is None or not self._ownership.lost_membership_thrice(within):
            return None
        return Explanation(Problem.GROUP_REFUSED, f"{self._instance.claim()}: {RIVAL}")

    def _awaits_topics(self, refused: Mapping[str, type[BaseException]]) -> bool:
        """Whether nothing is held because a topic is so new that not every broker knows it."""
        holding = self._ownership.holding
        return (holding is None or not holding.partitions) and self._missing.may_come(refused)

    def _without_coordinator(self) -> Explanation | None:
        member = self._supervisor.current
        sought = None if member is None else member.client.coordinator_sought()
        if sought is None or sought[0] < self._tuning.coordinator_seconds:
            return None
        return explain_no_coordinator(self._terms.group, *sought)
