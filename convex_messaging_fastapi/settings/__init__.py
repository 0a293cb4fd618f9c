"""What may be set, where it is read from, and which choices contradict each other."""

from convex_messaging_fastapi.settings.fields import settings_table
from convex_messaging_fastapi.settings.model import MessagingSettings, load

__all__ = ["MessagingSettings", "load", "settings_table"]
