"""Names of OpenTelemetry's semantic conventions for messaging, 1.45, which are in development; and ours.

The published Python package of them stops at 1.44, so they are written down here, and nowhere else.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.45.0"
SCOPE: Final = "convex_messaging_fastapi"

# -- attributes ------------------------------------------------------------------------------------

SYSTEM: Final = "messaging.system.name"
KAFKA: Final = "kafka"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
PARTITION: Final = "messaging.destination.partition.id"
GROUP: Final = "messaging.consumer.group.name"
CLIENT_ID: Final = "messaging.client.id"
MESSAGE_ID: Final = "messaging.message.id"
CONVERSATION_ID: Final = "messaging.message.conversation_id"
BATCH_COUNT: Final = "messaging.batch.message_count"
OFFSET: Final = "kafka.offset"
TOMBSTONE: Final = "kafka.message.tombstone"
ERROR_TYPE: Final = "error.type"

# -- operations: their names, which spans begin with, and their types ----------------------------------

SEND: Final = "send"
PROCESS: Final = "process"
POLL: Final = "poll"
RECEIVE: Final = "receive"
COMMIT: Final = "commit"
SETTLE: Final = "settle"

# -- metrics: seconds, and messages ------------------------------------------------------------------

OPERATION_DURATION: Final = "messaging.client.operation.duration"
SENT_MESSAGES: Final = "messaging.client.sent.messages"
CONSUMED_MESSAGES: Final = "messaging.client.consumed.messages"
PROCESS_DURATION: Final = "messaging.process.duration"
SECONDS: Final = "s"
MESSAGES: Final = "{message}"

# -- what the conventions have no name for --------------------------------------------------------------

SUBSCRIPTION: Final = "convex.messaging.subscription"
ATTEMPT: Final = "convex.messaging.attempt"
OUTCOME: Final = "convex.messaging.outcome"
REPLAY_COUNT: Final = "convex.messaging.replay_count"
