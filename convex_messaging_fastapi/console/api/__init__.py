"""The answers of the console as JSON: what each holds, how it is made, and the document that says so."""

from convex_messaging_fastapi.console.api.document import document_of as document_of
from convex_messaging_fastapi.console.api.endpoints import ANSWERS as ANSWERS
from convex_messaging_fastapi.console.api.endpoints import Answer as Answer
from convex_messaging_fastapi.console.api.models import Problem as Problem
