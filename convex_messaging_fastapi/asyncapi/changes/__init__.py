"""What has changed between two AsyncAPI documents, in words, and what of it breaks somebody."""

from convex_messaging_fastapi.asyncapi.changes.change import Change as Change
from convex_messaging_fastapi.asyncapi.changes.change import ChangeKind as ChangeKind
from convex_messaging_fastapi.asyncapi.changes.documents import changes as changes
