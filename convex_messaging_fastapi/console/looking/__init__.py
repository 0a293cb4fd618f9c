"""Looks up what both a page and an answer of the API show."""

from convex_messaging_fastapi.console.looking.contents import SHOWN_BYTES as SHOWN_BYTES
from convex_messaging_fastapi.console.looking.contents import payload_of as payload_of
from convex_messaging_fastapi.console.looking.contents import shown_header as shown_header
from convex_messaging_fastapi.console.looking.contents import text_of as text_of
from convex_messaging_fastapi.console.looking.described import document_for as document_for
from convex_messaging_fastapi.console.looking.filters import wanted_by as wanted_by
from convex_messaging_fastapi.console.looking.filters import wanted_in as wanted_in
from convex_messaging_fastapi.console.looking.jobs import job_of as job_of
from convex_messaging_fastapi.console.looking.settings import rows_of as rows_of
from convex_messaging_fastapi.console.looking.tails import row_of as row_of
from convex_messaging_fastapi.console.looking.tails import tail_of as tail_of
from convex_messaging_fastapi.console.looking.tails import topics_of as topics_of
