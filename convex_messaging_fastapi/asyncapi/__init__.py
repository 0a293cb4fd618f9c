"""The AsyncAPI document of a service: what it listens to, what it publishes, and what is in each message.

from convex_messaging_fastapi.asyncapi import document

json.dumps(document(bus, app))
"""

from convex_messaging_fastapi.asyncapi.document import document as document
