"""The AsyncAPI document of a service: what it listens to, what it publishes, and what is in each message.

from convex_messaging_fastapi.asyncapi import document

json.dumps(document(bus, app))
"""

from convex_messaging_fastapi.asyncapi.comparing import Change as Change
from convex_messaging_fastapi.asyncapi.comparing import ChangeKind as ChangeKind
from convex_messaging_fastapi.asyncapi.comparing import changes as changes
from convex_messaging_fastapi.asyncapi.describing import document as document
from convex_messaging_fastapi.asyncapi.reading import NoDocument as NoDocument
from convex_messaging_fastapi.asyncapi.showing import page as page
