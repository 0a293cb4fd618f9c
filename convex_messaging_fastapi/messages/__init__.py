"""Typed messages to bytes and back, and everything else that both ends of the wire must agree on."""

from convex_messaging_fastapi.messages.convex_message import ConvexMessage
from convex_messaging_fastapi.messages.dead_letter import DeadLetterMessage
from convex_messaging_fastapi.messages.decoding import Decoder, codec_for
from convex_messaging_fastapi.messages.encoding import encode, message_type
from convex_messaging_fastapi.messages.headers import headers_for_many, outgoing_headers
from convex_messaging_fastapi.messages.topics import dead_letter_topic, topic_on_wire

__all__ = [
    "ConvexMessage",
    "DeadLetterMessage",
    "Decoder",
    "codec_for",
    "dead_letter_topic",
    "encode",
    "headers_for_many",
    "message_type",
    "outgoing_headers",
    "topic_on_wire",
]
