"""What commands print, and how: tables, JSON, progress, and escapes of what a terminal might obey."""

from convex_messaging_fastapi.cli.output.escaping import json_text, safe, safe_bytes
from convex_messaging_fastapi.cli.output.output import Output
from convex_messaging_fastapi.cli.output.plain import plain

__all__ = ["Output", "json_text", "plain", "safe", "safe_bytes"]
