"""The document is true: handlers are given what it allows, and what is published is what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator

from convex_messaging_fastapi import DeadLetterMessage
from convex_messaging_fastapi.asyncapi.reading import Document
from convex_messaging_fastapi.asyncapi.showing.examples import example_of
from convex_messaging_fastapi.messages import codec_for, encode
from example_app import messages as example
from tests.asyncapi.comparing.versions import RECEIVED, SENT, described
from tests.asyncapi.zoo import Cat, Envelope, Order, Plain, Shipped

MODELS = [
    Order,
    Plain,
    Shipped,
    Cat,
    Envelope[int],
    DeadLetterMessage,
    example.BetPlaced,
    example.UserCreated,
]


def only(told: Any) -> Any:
    """The payload of the one message, with all that it refers to."""
    (message,) = told["components"]["messages"].values()
    return {**message["payload"], "components": told["components"]}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_what_the_document_allows_is_read_and_written_as_it_says(model: Any) -> None:
    received, sent = described(RECEIVED, model), described(SENT, model)
    allowed = example_of(only(received), Document(received))
    message = codec_for(model).decode(json.dumps(allowed).encode())
    written = json.loads(encode(message))
    assert [each.message for each in Draft7Validator(only(sent)).iter_errors(written)] == []
    (key,) = sent["components"]["messages"]
    assert set(written) <= set(sent["components"]["schemas"][key]["properties"])
