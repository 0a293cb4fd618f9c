"""Replay, discard, reopen: what is decided stands apart from who acts on it."""

from __future__ import annotations
