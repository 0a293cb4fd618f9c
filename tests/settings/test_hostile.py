"""Whatever stands in the files and variables, settings are made or `ConfigurationError` says why not."""

from __future__ import annotations

import json
import traceback
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings import load
from convex_messaging_fastapi.settings.sources import plain_json
from tests.settings.conftest import Place
from tests.support.examples import examples

FEW = examples(100)
SECRET = "s3cr3t"

PUNCTUATION = (
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b'"',
    b"\\",
    b"//",
    b"/*",
    b"*/",
    b"\n",
    b"=",
    b"'",
    b"#",
    b"$",
)
ODD = (b"1", b"null", b"s3cr3t", b"\xff", b"\0", b"\xef\xbb\xbf", b"../")
json_pieces = st.sampled_from(
    [*PUNCTUATION, *ODD, b'"ConvexMessaging"', b'"SaslPassword"', b'"ConsumerGroup"', b'"Concurrency"']
)
dotenv_pieces = st.sampled_from(
    [*PUNCTUATION, *ODD, b"export ", b"KAFKA_SASL_PASSWORD=", b"KAFKA_CONCURRENCY=", b"APP_ENV="]
)


def test_any_bytes_in_the_json_file_are_read_or_refused(place: Place) -> None:
    @FEW
    @given(st.binary() | st.lists(json_pieces, max_size=30).map(b"".join))
    @example(b"[" * 100_000)
    @example(b"[" * 100_000 + b"]" * 100_000)
    @example(b'{"ConvexMessaging":{"Concurrency":' + b"1" * 5000 + b"}}")
    @example(b'"' * 2001)
    def check(content: bytes) -> None:
        place.write("appsettings.json", content)
        with suppress(ConfigurationError):
            load()

    check()


@pytest.mark.parametrize(
    "content",
    [
        b'{"ConvexMessaging":{"SaslPassword":"s3cr3t","Concurrency":x}}',
        b'{"ConvexMessaging":{"SaslPassword":["s3cr3t"]}}',
        b'{"ConvexMessaging":{"SaslPassword":"s3cr3t","Concurrency":' + b"1" * 5000 + b"}}",
        b'{"ConvexMessaging":{"SaslPassword":"s3cr3t","Deep":' + b"[" * 100_000,
    ],
    ids=["no JSON", "no text", "a long number", "nested"],
)
def test_a_file_that_cannot_be_read_keeps_its_password(place: Place, content: bytes) -> None:
    place.write("appsettings.json", content)
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_any_bytes_in_dotenv_are_read_or_refused(place: Place) -> None:
    @FEW
    @given(st.binary() | st.lists(dotenv_pieces, max_size=20).map(b"".join))
    @example(b"APP_ENV=a\0b")
    @example(b"APP_ENV=" + b"a" * 5000)
    def check(content: bytes) -> None:
        place.write(".env", content)
        with suppress(ConfigurationError):
            load()

    check()


@FEW
@given(st.text(), st.text())
def test_any_address_is_taken_or_refused_and_what_may_be_a_password_is_not_told(
    before: str, after: str
) -> None:
    with suppress(ConfigurationError):
        load(bootstrap_servers=before + after)
    with pytest.raises(ConfigurationError) as caught:
        load(bootstrap_servers=f"{before}{SECRET}@{after}")
    assert SECRET not in str(caught.value)


@FEW
@given(st.text(st.sampled_from('/*",[]{}\\\n ')))
def test_what_is_no_json_does_not_become_other_json(text: str) -> None:
    """Comments and last commas are taken away in one pass; what stands in strings stays."""
    with suppress(ValueError):
        assert json.loads(plain_json(text)) == json.loads(plain_json(plain_json(text)))
