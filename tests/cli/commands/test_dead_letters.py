"""`dead-letters` drawn from what operations answer, hostile texts included."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from convex_messaging_fastapi.cli.session import Session
from convex_messaging_fastapi.errors import LetterNotFound, LettersUnavailable
from convex_messaging_fastapi.operations import (
    Filter,
    Letter,
    LetterGroup,
    LetterPage,
    LetterPlace,
    Origin,
    StateChange,
    ValidatedAlike,
    Validation,
)
from tests.cli.calls import Cli

AT = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
HOSTILE = "\x1b[2J\u202e\n[red]"
SHOWN = "\\x1b[2J\\u202e\\n[red]"


def group(id: str, topic: str, handler: str, count: int, *, error: str = "declined") -> LetterGroup:
    return LetterGroup(
        id=id,
        topic=topic,
        group="payments",
        handler=handler,
        exception_type="shop.CardDeclined",
        frame="shop/bank.py:7 in charge",
        counts={"open": count, "failed_again": 1},
        failed_again=1,
        first=AT,
        last=AT,
        error=error,
        sample="2/517",
    )


LETTER = Letter(
    id="2/517",
    kind="convex",
    place=LetterPlace("convex.dlq", 2, 517, 0),
    group_id="0123456789",
    origin=Origin("convex.payments", 3, 99, AT),
    group="payments",
    handler=HOSTILE,
    error=HOSTILE,
    exception_type="shop.CardDeclined",
    failed_at=AT,
    size=300,
    key=HOSTILE.encode(),
    value=b'{"card": "\x1b[31m"}',
    headers=((HOSTILE, HOSTILE.encode()), ("null", None)),
    stack=f"one\n{HOSTILE}",
    is_whole=True,
    state="open",
    history=(StateChange("discarded", AT, "ada", "by mistake"),),
    duplicates=(LetterPlace("convex.dlq", 2, 518, 0),),
)


class FakeOperations:
    """Answers what it is told to, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.wanted: list[Filter] = []
        self.of_app = False
        self.page = LetterPage(
            groups=(
                group("0123456789", "convex.payments", "charge", 1234),
                group("abcdef0123", "convex.payments", HOSTILE, 2, error=HOSTILE),
            ),
            letters=(LETTER,),
            matched=1236,
            scanned=2000,
        )
        self.found = Validation(
            results=(
                ValidatedAlike("accepted", "payments", "charge", "", 9, ("2/517",)),
                ValidatedAlike("refused", "payments", "charge", "Amount: Field required", 1, ("2/518",)),
            ),
            checked=10,
        )

    async def dead_letters(self, wanted: Filter, *, limit: int) -> LetterPage:
        self.wanted.append(wanted)
        return self.page

    async def dead_letter(self, id: str) -> Letter:
        if id != LETTER.id:
            raise LetterNotFound(f"there is no dead letter {id}")
        return LETTER

    async def validate(self, wanted: Filter) -> Validation:
        return self.found

    async def export(self, wanted: Filter) -> AsyncGenerator[Mapping[str, Any], None]:
        for number in range(3):
            yield {"Id": f"0/{number}", "Error": HOSTILE}


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> FakeOperations:
    fake = FakeOperations()

    @asynccontextmanager
    async def operations(session: Session, *, of_app: bool = False) -> AsyncIterator[FakeOperations]:
        fake.of_app = of_app
        yield fake

    monkeypatch.setattr(Session, "operations", operations)
    return fake


BY_GROUP = f"""\
GROUP       LETTERS                     TOPIC            HANDLER               TYPE          LAST                  ERROR
0123456789  1,234 open, 1 failed again  convex.payments  charge                CardDeclined  2026-11-01T08:30:00Z  declined
abcdef0123  2 open, 1 failed again      convex.payments  {SHOWN}  CardDeclined  2026-11-01T08:30:00Z  {SHOWN}
"""  # noqa: E501

BY_TOPIC = """\
TOPIC            LETTERS  LAST
convex.payments  1238     2026-11-01T08:30:00Z
"""

BY_LETTER = f"""\
ID     STATE                   FAILED                TOPIC            HANDLER               ERROR
2/517  open (written 2 times)  2026-11-01T08:30:00Z  convex.payments  {SHOWN}  {SHOWN}
"""

SHOWN_LETTER = f"""\
letter       2/517 (convex)
state        open
failed       2026-11-01T08:30:00Z
topic        convex.payments/3/99
group        payments
handler      {SHOWN}
error        shop.CardDeclined: {SHOWN}
history      2026-11-01T08:30:00Z discarded by ada; by mistake
key          {SHOWN}
header       {SHOWN}: {SHOWN}
header       null: -
value        {{"card": "\\x1b[31m"}}
stack        one
stack        \\x1b[2J\\u202e
stack        [red]
"""


@pytest.mark.parametrize(
    ("words", "golden"), [((), BY_GROUP), (("--by", "topic"), BY_TOPIC), (("--by", "letter"), BY_LETTER)]
)
@pytest.mark.parametrize("noun", ["dead-letters", "dlq"])
def test_letters_are_listed(
    cli: Cli, ops: FakeOperations, noun: str, words: tuple[str, ...], golden: str
) -> None:
    assert cli(noun, "list", *words) == (0, golden, "1,236 letters, of 2,000 looked at\n")


def test_a_list_as_json_is_safe_and_whole(cli: Cli, ops: FakeOperations) -> None:
    ran = cli("dead-letters", "list", "--json")
    assert ran.json["groups"][1]["error"] == HOSTILE
    assert ran.json["letters"][0]["id"] == "2/517"
    assert not any(each in ran.out for each in "\x1b\u202e")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), Filter()),
        (
            ("--topic", "payments", "--group", "g", "--handler", "h"),
            Filter(topic="payments", group="g", handler="h"),
        ),
        (("--type", "CardDeclined", "--text", "x"), Filter(exception="CardDeclined", text="x")),
        (("--since", "2026-11-01T08:30Z"), Filter(since=AT)),
        (("--state", "failed-again", "--min-replays", "1"), Filter(state="failed_again", min_replays=1)),
        (("--state", "expires-soon"), Filter(state="expires_soon")),
        (("--group-id", "0123456789", "--state", "all"), Filter(group_id="0123456789", state="all")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_are_a_filter(cli: Cli, ops: FakeOperations, words: tuple[str, ...], wanted: Filter) -> None:
    assert cli("dead-letters", "list", *words).code == 0
    assert ops.wanted == [wanted]


@pytest.mark.parametrize(
    "words",
    [
        ("--since", "soon"),
        ("--state", "odd"),
        ("--group-id", "x"),
        ("--since", "2026-02-01", "--until", "2026-01-01"),
    ],
)
def test_what_is_no_filter_is_usage(cli: Cli, ops: FakeOperations, words: tuple[str, ...]) -> None:
    assert cli("dead-letters", "list", *words).code == 2


def test_what_was_left_out_and_what_is_not_known_is_said(cli: Cli, ops: FakeOperations) -> None:
    ops.page = LetterPage(
        groups=(),
        letters=(),
        matched=1,
        scanned=5,
        truncated="only the newest 5 were looked at",
        states_known=False,
        states_problem="no READ on convex.dlq.state",
    )
    assert cli("dead-letters", "list").err == (
        "1 letter, of 5 looked at; only the newest 5 were looked at\n"
        "warning: what became of them is not known: no READ on convex.dlq.state\n"
    )


def test_where_none_is_open_it_says_that_only_those_are_listed(cli: Cli, ops: FakeOperations) -> None:
    ops.page = LetterPage(groups=(), letters=(), matched=0, scanned=5)
    none, *hint = cli("dead-letters", "list").err.splitlines()
    assert none == "0 letters, of 5 looked at"
    assert hint == ["only open letters are listed: --state all lists those that something was done about"]
    assert cli("dead-letters", "list", "--state", "all").err == f"{none}\n"


def test_a_letter_is_shown_a_line_each(cli: Cli, ops: FakeOperations) -> None:
    assert cli("dead-letters", "show", "2/517") == (0, SHOWN_LETTER, "")


def test_the_failed_message_can_be_had_as_hexadecimal(cli: Cli, ops: FakeOperations) -> None:
    first, second = cli("dlq", "show", "2/517", "--hex").lines
    assert first == '00000000  7b 22 63 61 72 64 22 3a 20 22 1b 5b 33 31 6d 22  {"card": ".[31m"'
    assert second.split() == ["00000010", "7d", "}"]


def test_a_letter_that_is_not_there_is_5(cli: Cli, ops: FakeOperations) -> None:
    assert cli("dlq", "show", "9/9") == (5, "", "error: there is no dead letter 9/9\n")


def test_validation_is_1_where_some_would_be_refused(cli: Cli, ops: FakeOperations) -> None:
    ran = cli("dlq", "validate")
    assert ops.of_app
    assert (ran.code, ran.err) == (1, "9 of 10 would be accepted\n")
    assert ran.lines[1].split() == ["accepted", "9", "payments", "charge", "2/517"]
    assert ran.lines[2].split()[:2] == ["refused", "1"]
    ops.found = Validation(results=ops.found.results[:1], checked=9)
    assert cli("dlq", "validate", "--json").code == 0


def test_where_no_letter_is_meant_validation_says_which_are(cli: Cli, ops: FakeOperations) -> None:
    ops.found = Validation(results=(), checked=0)
    ran = cli("dlq", "validate", "--handler", "misspelt")
    assert (ran.code, ran.err) == (
        0,
        "0 of 0 would be accepted\nonly open letters are meant, unless --state says otherwise\n",
    )


def test_letters_are_exported_a_line_each(cli: Cli, ops: FakeOperations) -> None:
    ran = cli("dlq", "export")
    assert [json.loads(line)["Id"] for line in ran.lines] == ["0/0", "0/1", "0/2"]
    assert "\x1b" not in ran.out


def test_letters_that_cannot_be_read_are_3(
    cli: Cli, ops: FakeOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(wanted: Filter, *, limit: int) -> LetterPage:
        raise LettersUnavailable("dead letters cannot be read: no answer in time")

    monkeypatch.setattr(ops, "dead_letters", away)
    assert cli("dlq", "list") == (3, "", "error: dead letters cannot be read: no answer in time\n")
