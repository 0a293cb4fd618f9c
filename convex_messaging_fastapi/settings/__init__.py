"""What may be set, where it is read from, and which choices contradict each other."""

from convex_messaging_fastapi.settings.model import MessagingSettings, load
from convex_messaging_fastapi.settings.table import settings_table

__all__ = ["MessagingSettings", "load", "settings_table"]
