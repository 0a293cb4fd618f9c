"""The table of settings that the README carries, written from the model itself."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic.fields import FieldInfo

from convex_messaging_fastapi.settings.model import MessagingSettings
from convex_messaging_fastapi.settings.sources import PREFIX


def settings_table() -> str:
    """Markdown: one row a setting, in the order of the model."""
    return "\n".join(["| setting | variable | default | effect |", "|---|---|---|---|", *_rows()])


def _rows() -> Iterator[str]:
    for name, field in MessagingSettings.model_fields.items():
        variable = "in code only" if field.exclude else f"`{PREFIX}{name.upper()}`"
        yield f"| `{name}` | {variable} | {_default(field)} | {field.description} |"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`consumer_group`"
    if field.default is None:
        return "-"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"
