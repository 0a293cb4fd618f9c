"""The page: topics, who reads and who publishes there, and the fields of each message."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from convex_messaging_fastapi.asyncapi.reading import Document
from convex_messaging_fastapi.asyncapi.showing.examples import example_of
from convex_messaging_fastapi.asyncapi.showing.fields import rows_of, type_of
from convex_messaging_fastapi.asyncapi.showing.html import Html, element, joined
from convex_messaging_fastapi.asyncapi.showing.style import STYLE

_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
"""The `Content-Security-Policy` under which a browser shows the page whole, and nothing besides."""


def page(document: Mapping[str, Any], *, source: str | None = None) -> str:
    """This document as HTML for people; `source` is the address of the document itself.

    Raises `NoDocument` for what is no AsyncAPI document of version 3.
    """
    read = Document(document)
    title = str(document["info"]["title"])
    head = element(
        "head",
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", f"{title}: messages"),
        element("style", Html(STYLE)),
    )
    body = element("body", element("main", *_parts(read, source)))
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def inner(document: Mapping[str, Any], *, source: str | None = None) -> Html:
    """What such a page shows, for a page of one's own to show it within. Raises `NoDocument`."""
    return joined(*_parts(Document(document), source))


def _parts(document: Document, source: str | None) -> Iterator[Html]:
    yield _header(document.whole["info"], document.whole["asyncapi"], source)
    yield from _servers(document.whole.get("servers", {}))
    names = document.channels
    if not names:
        yield element("p", "Nothing is received or published.")
        return
    links = (element("li", element("a", name, href=f"#{name}")) for name in names)
    yield element("nav", element("ul", *links), aria_label="Topics")
    for name, channel in names.items():
        yield _channel(name, channel, document)
    yield from _headers(document)


def _header(info: Mapping[str, Any], version: str, source: str | None) -> Html:
    link = element("a", f"AsyncAPI {version}", href=source) if source else f"AsyncAPI {version}"
    return element(
        "header",
        element("h1", info["title"]),
        element("p", f"Version {info['version']} · ", link, class_="soft"),
        _text(info.get("description")),
    )


def _servers(servers: Mapping[str, Any]) -> Iterator[Html]:
    for server in servers.values():
        logins = [each["$ref"].rpartition("/")[2] for each in server.get("security", ())]
        how = ", ".join([server["protocol"], *logins])
        yield element("p", "On ", element("code", server["host"]), f" ({how})")


def _channel(name: str, channel: Mapping[str, Any], document: Document) -> Html:
    operations = [
        each for each in document.operations.values() if document.resolved(each["channel"])[0] == name
    ]
    messages = (document.resolved(each) for each in channel["messages"].values())
    return element(
        "section",
        element("h2", name, id=name),
        element("p", "In the cluster: ", element("code", channel["address"]), class_="soft"),
        element("ul", *map(_operation, operations), class_="plain"),
        *(_message(key, said, document) for key, said in messages),
    )


def _operation(operation: Mapping[str, Any]) -> Html:
    action = operation["action"]
    choices = operation.get("x-convex", {})
    group = operation.get("bindings", {}).get("kafka", {}).get("groupId", {}).get("enum", [None])[0]
    who = "this app" if action == "send" else element("code", operation.get("title", ""))
    return element(
        "li",
        element("span", "published" if action == "send" else "received", class_=f"way {action}"),
        joined(" by ", who),
        joined(" in group ", element("code", group)) if group else None,
        element("p", operation["summary"]) if "summary" in operation else None,
        _text(operation.get("description")),
        element("p", ", ".join(_in_words(choices)), class_="soft") if choices else None,
    )


def _in_words(choices: Mapping[str, Any]) -> Iterator[str]:
    if choices["kind"] == "command":
        yield "a queue: one receiver in the fleet handles each message"
    yield {"none": "in no order"}.get(choices["ordering"], f"in order within a {choices['ordering']}")
    if "batchRecords" in choices:
        yield f"up to {choices['batchRecords']} at once"
    tries = choices["attempts"]
    yield "tried until it succeeds" if tries is None else f"tried {tries} time{'s' * (tries != 1)} at most"
    if choices["timeoutSeconds"] is not None:
        yield f"{choices['timeoutSeconds']:g} s each"
    ends = {"bury": f"then to {choices.get('deadLetterTopic')}", "hold": "then its partition waits"}
    yield ends.get(choices["deadLetter"], "then left")


def _message(key: str, message: Mapping[str, Any], document: Document) -> Html:
    payload = message.get("payload", True)
    _, schema = document.resolved(payload)
    about = schema.get("description") if isinstance(schema, Mapping) else None
    name, content = message.get("name", key), message.get("contentType")
    facts = [type_of(payload, document), *([content] if content else [])]
    rows = [tuple(row) for row in rows_of(payload, document)]
    example = json.dumps(example_of(payload, document), indent=2, ensure_ascii=False)
    return element(
        "article",
        element("h3", name),
        element("p", " · ".join(each for each in facts if each != name), class_="soft"),
        _text(message.get("description") or about),
        _table(("Field", "Type", "Rules", "About"), rows) if rows else None,
        element("details", element("summary", "Example"), element("pre", example, tabindex="0"), open="")
        if payload not in ({}, True)
        else None,
    )


def _headers(document: Document) -> Iterator[Html]:
    """Those of the first message that has some: all have the same."""
    messages = (each for by_key in document.messages().values() for each in by_key.values())
    headers = next((each.said["headers"] for each in messages if "headers" in each.said), None)
    if headers is not None:
        _, schema = document.resolved(headers)
        rows = [(row.field, row.description) for row in rows_of(headers, document)]
        yield element("h2", "Headers", id="-headers")
        yield element("section", _text(schema.get("description")), _table(("Header", "What it tells"), rows))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """The last column only where it has something in it."""
    width = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
    head = element("tr", *(element("th", each, scope="col") for each in columns[:width]))
    body = (
        element("tr", element("td", element("code", first)), *(element("td", each) for each in rest))
        for first, *rest in (row[:width] for row in rows)
    )
    return element("table", element("thead", head), element("tbody", *body))


def _text(text: Any) -> Html | None:
    """Paragraphs and lists as they were written; lines of a paragraph are as wide as the page."""
    return element("p", re.sub(r"(?<=\S)\n(?=\w|`)", " ", str(text)), class_="text") if text else None
