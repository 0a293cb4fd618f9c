"""What stands between a request and the console: headers, origins, tokens, sizes, and how many at once."""

from convex_messaging_fastapi.console.security.bodies import form_in as form_in
from convex_messaging_fastapi.console.security.bodies import refuse_large as refuse_large
from convex_messaging_fastapi.console.security.callers import Callers as Callers
from convex_messaging_fastapi.console.security.headers import add_headers as add_headers
from convex_messaging_fastapi.console.security.origins import refuse_cross_site as refuse_cross_site
from convex_messaging_fastapi.console.security.refused import Refused as Refused
from convex_messaging_fastapi.console.security.tokens import Tokens as Tokens
