"""A document as a page for people: one file, without scripts, and without anything from elsewhere."""

from convex_messaging_fastapi.asyncapi.page.page import POLICY as POLICY
from convex_messaging_fastapi.asyncapi.page.page import page as page
