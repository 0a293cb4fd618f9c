"""The settings: what they are, where they are read from, and which values contradict each other."""

from convex_messaging_fastapi.settings.fields import settings_table
from convex_messaging_fastapi.settings.model import MessagingSettings, load

__all__ = ["MessagingSettings", "load", "settings_table"]
