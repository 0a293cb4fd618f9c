"""What has changed between two AsyncAPI documents, in words, and what of it breaks somebody."""

from convex_messaging_fastapi.asyncapi.comparing.change import Change as Change
from convex_messaging_fastapi.asyncapi.comparing.change import ChangeKind as ChangeKind
from convex_messaging_fastapi.asyncapi.comparing.documents import changes as changes
