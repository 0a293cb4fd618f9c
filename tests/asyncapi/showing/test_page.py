"""The page tells all of a document to people, by itself alone, and takes no text for HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft7Validator

from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.asyncapi import NoDocument, document, page
from convex_messaging_fastapi.asyncapi.reading import Document
from convex_messaging_fastapi.asyncapi.showing import POLICY
from convex_messaging_fastapi.asyncapi.showing.examples import example_of
from example_app.main import app as example
from example_app.main import bus as example_bus
from tests.asyncapi.comparing.versions import MEMORY, order
from tests.asyncapi.zoo import zoo

VOID = {"meta"}
ZOO = document(zoo(bootstrap_servers="kafka:9092"))


class Read(HTMLParser):
    """Elements with their attributes, the text, and what is not closed as it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.cells: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "td" in self.open:
            self.cells[-1] += data

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(name))]


def read(told: Any = ZOO, **options: Any) -> Read:
    return Read(page(told, **options))


def rows(told: Any) -> list[tuple[str, ...]]:
    """Of all tables but that of the headers."""
    whole = page(told).partition('id="-headers"')[0]
    return [tuple(Read(row).cells) for row in re.findall(r"<tr>(?=<td).*?</tr>", whole)]


@pytest.mark.parametrize("told", [ZOO, document(example_bus, example), document(MessageBus(MEMORY))])
def test_it_is_whole_and_needs_nothing_from_elsewhere(told: Any) -> None:
    found = read(told, source="asyncapi.json")
    assert (found.open, found.crossed) == ([], [])
    assert not {tag for tag, _ in found.elements} & {"script", "link", "img", "iframe", "form"}
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    ids = found.attributes("id")
    assert len(ids) == len(set(ids))
    assert all(link == "asyncapi.json" or link.removeprefix("#") in ids for link in found.attributes("href"))
    assert "url(" not in page(told)


def test_a_browser_shows_its_style_and_nothing_else() -> None:
    style = re.search("<style>(.*?)</style>", page(ZOO), re.DOTALL)
    assert style is not None
    hashed = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert POLICY.startswith(f"default-src 'none'; style-src 'sha256-{hashed}'; ")


def test_it_tells_every_topic_handler_group_message_and_field() -> None:
    text = read().text
    for topic, channel in ZOO["channels"].items():
        assert topic in text
        assert channel["address"] in text
    for operation in ZOO["operations"].values():
        if operation["action"] == "receive":
            assert operation["title"] in text
            assert operation["bindings"]["kafka"]["groupId"]["enum"][0] in text
    for message in ZOO["components"]["messages"].values():
        assert message["name"] in text
    for schema in ZOO["components"]["schemas"].values():
        assert all(field in text for field in schema.get("properties", {}))
    assert "kafka:9092" in text


@pytest.mark.parametrize(
    "row",
    [
        ("OrderId", "integer", "required, at least 1", "From the shop."),
        ("Amount", "number", "required, more than 0", ""),
        ("Discount", "number", "default 1.5", ""),
        ("Raw", "string (byte)", "required", ""),
        ("Status", "string", 'one of "open", "paid", default "open"', ""),
        ("Address", "Address", "required", "Where to."),
        ("Address.Street", "string", "required", ""),
        ("Address.Lines", "array of Address", "default []", ""),
        ("Point", "[integer, integer]", "required, 2 or more items, 2 items at most", ""),
        ("Note", "string or null", "default null", ""),
        ("Prices", "object of number", "default {}", ""),
        ("pet (Cat).kind", "string", 'required, one of "cat"'),
        ("pet (Dog).kind", "string", 'required, one of "dog"'),
    ],
)
def test_a_field_is_a_row(row: tuple[str, ...]) -> None:
    assert row in rows(ZOO)


def test_a_type_that_holds_itself_has_an_end() -> None:
    ways = [way for way, *_ in rows(ZOO)]
    assert "Address.Lines" in ways
    assert "Address.Lines[].Street" not in ways


@pytest.mark.parametrize(
    "words",
    [
        "in order within a key, tried 7 times at most, 2.5 s each, then to convex.dlq",
        "in order within a partition, up to 50 at once, tried 3 times at most, then to convex.dlq",
        "a queue: one receiver in the fleet handles each message, in order within a key, tried 3 times "
        "at most, then its partition waits",
    ],
)
def test_what_a_handler_has_chosen_is_told_in_words(words: str) -> None:
    assert words in read().text


HOSTILE = "<script>alert('&\"')</script>"


def test_no_text_is_taken_for_html() -> None:
    """Docstrings, ids, groups, defaults and values come from whoever wrote the app."""
    bus = MessageBus(MEMORY.model_copy(update={"consumer_group": HOSTILE}))
    message = order(f=(str, HOSTILE))
    message.__doc__ = HOSTILE

    async def handle(message): ...  # type: ignore[no-untyped-def]

    handle.__doc__ = f"{HOSTILE}\n\n{HOSTILE}"
    handle.__annotations__["message"] = message
    bus.subscriber("orders", id=HOSTILE)(handle)
    found = read(document(bus), source='"><script>')
    assert (found.open, found.crossed) == ([], [])
    assert "script" not in {tag for tag, _ in found.elements}
    assert found.text.count("<script>") >= 6


def test_what_is_no_document_is_refused() -> None:
    with pytest.raises(NoDocument):
        page({"openapi": "3.1.0"})


@pytest.mark.parametrize("key", [*ZOO["components"]["messages"]])
def test_the_example_of_a_message_is_one(key: str) -> None:
    payload = ZOO["components"]["messages"][key]["payload"]
    example = example_of(payload, Document(ZOO))
    found = Draft7Validator({**payload, "components": ZOO["components"]}).iter_errors(example)
    assert [each.message for each in found] == []
    if key == "Order":
        assert list(example) == list(ZOO["components"]["schemas"]["Order"]["properties"])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "exclusiveMinimum": 7},
        {"type": "integer", "minimum": 7, "multipleOf": 5},
        {"type": "number", "maximum": -3},
        {"type": "string", "minLength": 9},
        {"type": "string", "maxLength": 2},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
        {"enum": [3, "a"]},
        {"type": ["null", "string"]},
        {"type": "integer", "examples": [42]},
        {"anyOf": [{"type": "null"}, {"const": "x"}]},
    ],
)
def test_an_example_keeps_the_rules(schema: Any) -> None:
    example = example_of(schema, Document({"asyncapi": "3.1.0"}))
    assert list(Draft7Validator(schema).iter_errors(example)) == []
    assert example is not None
