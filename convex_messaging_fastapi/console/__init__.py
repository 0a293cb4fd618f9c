"""The console: pages about one bus for whoever is on call, in the app that the bus runs in.

from convex_messaging_fastapi.console import messaging_console

app.include_router(messaging_console(bus, dependencies=[Depends(require_admin)]), prefix="/messaging")
"""

from convex_messaging_fastapi.console.making import messaging_console as messaging_console

__all__ = ["messaging_console"]
