"""A document as a page for people: one file, without scripts, and without anything from elsewhere."""

from convex_messaging_fastapi.asyncapi.showing.page import POLICY as POLICY
from convex_messaging_fastapi.asyncapi.showing.page import inner as inner
from convex_messaging_fastapi.asyncapi.showing.page import page as page
