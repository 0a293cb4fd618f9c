"""What the answers of `/api` take, as its document says it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from convex_messaging_fastapi.operations import LetterState


class Parameter(NamedTuple):
    """One parameter; `schema` is JSON Schema."""

    name: str
    schema: dict[str, Any]
    description: str
    place: Literal["query", "path"] = "query"
    required: bool = False

    def as_openapi(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "in": self.place,
            "required": self.required or self.place == "path",
            "description": self.description,
            "schema": self.schema,
        }


_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_LETTER = {"type": "string", "pattern": r"^([a-zA-Z0-9._-]{1,249}/)?[0-9]{1,10}/[0-9]{1,18}$"}
_STATES = [*get_args(LetterState), "expires_soon", "all"]

WANTED: tuple[Parameter, ...] = (
    Parameter("ids", {"type": "array", "items": _LETTER, "maxItems": 1000}, "these letters, by their ids"),
    Parameter("state", {"type": "string", "enum": _STATES, "default": "open"}, "what was done about it"),
    Parameter("group_id", {"type": "string", "pattern": "^[0-9a-f]{10}$"}, "those that failed alike"),
    Parameter("topic", _TEXT, "the failed message's, with or without the prefix"),
    Parameter("group", _TEXT, "the consumer group, exactly; `-` for those that tell none"),
    Parameter("handler", _TEXT, "the subscription, exactly; `-` for those that tell none"),
    Parameter("exception", _TEXT, "the type of the error, with its module or without"),
    Parameter("text", _TEXT, "looked for in the error, the key and the value"),
    Parameter("since", _TIME, "failed then or later; without a time zone it is UTC"),
    Parameter("until", _TIME, "failed before"),
    Parameter(
        "min_replays", {"type": "integer", "minimum": 0, "maximum": 1_000}, "replayed at least so often"
    ),
)

LETTERS: tuple[Parameter, ...] = (
    *WANTED,
    Parameter("limit", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 100}, "letters at most"),
    Parameter("after", _TEXT, "the `next` of the answer before"),
)

ID = (Parameter("id", _LETTER, "the id of the letter", "path"),)
JOB = (Parameter("id", _TEXT, "the id of the job", "path"),)

TAIL: tuple[Parameter, ...] = (
    Parameter("topic", _TEXT, "one of `/api/topics`", required=True),
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "messages at most"),
    Parameter("after", _TEXT, "the `next` of the answer before"),
)
