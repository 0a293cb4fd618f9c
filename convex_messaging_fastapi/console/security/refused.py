"""Why a request was not let in, as its answer says it."""

from __future__ import annotations


class Refused(Exception):
    """`status` is the HTTP status, `title` what is wrong, `help` what to do. All three are our own words."""

    def __init__(self, status: int, title: str, help: str, retry_after: int | None = None) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.help = help
        self.retry_after = retry_after
