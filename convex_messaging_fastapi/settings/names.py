"""Names that Kafka takes: prefixes, groups, and the template of a queue's group."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_LEGAL = re.compile(r"[A-Za-z0-9._-]*")
_LONGEST = 200


def _checked_name(text: str) -> str:
    if not _LEGAL.fullmatch(text) or len(text) > _LONGEST:
        raise ValueError(
            f"takes up to {_LONGEST} letters, digits, dots, dashes and underscores, not {text[:60]!r}"
        )
    return text


def _checked_prefix(text: str) -> str:
    if text.startswith(".") or text.endswith("."):
        raise ValueError(f"takes no dot at its ends, not {text!r}: one is put between prefix and topic")
    return text


def _checked_queue_group(template: str) -> str:
    filled = template.replace("{prefix}", "").replace("{queue}", "")
    if "{" in filled or "}" in filled:
        raise ValueError(f"knows {{prefix}} and {{queue}} and no other braces, not {template!r}")
    return template


TopicPrefix = Annotated[str, AfterValidator(_checked_name), AfterValidator(_checked_prefix)]
InstanceId = Annotated[str, AfterValidator(_checked_name)]
QueueGroup = Annotated[str, AfterValidator(_checked_queue_group)]


def queue_group(template: str, prefix: str, queue: str) -> str:
    """The group of a queue's receivers, whether or not the queue was named with its prefix."""
    if not prefix:
        return template.replace("{prefix}.", "").replace("{prefix}", "").replace("{queue}", queue)
    return template.replace("{prefix}", prefix).replace("{queue}", queue.removeprefix(f"{prefix}."))
