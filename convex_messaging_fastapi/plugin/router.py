"""The router that brings a bus into a FastAPI app: its lifespan and its probes, by `include_router` alone."""

from __future__ import annotations

from fastapi import APIRouter

from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.plugin.health import HEALTH_PREFIX, Details, health_routes
from convex_messaging_fastapi.status import Readiness


class MessagingRouter(APIRouter):
    """Starts and stops the bus with the app that includes this, and answers probes for it.

        bus = MessageBus()
        app = FastAPI()
        app.include_router(MessagingRouter(bus))

    The app's own lifespan is outermost: what it opens is there before the bus starts and until the
    bus has drained. Include it once; routers between it and the app do no harm. In an app that is
    *mounted* it does not work, since the lifespans of mounted apps never run.

    `prefix`, `readiness` and `details` are those of `health_routes`. Dependencies given to the app
    or to `include_router` do not apply to the probes; middleware does.
    """

    def __init__(
        self,
        bus: MessageBus,
        *,
        prefix: str = HEALTH_PREFIX,
        readiness: Readiness = "kafka",
        details: Details | None = None,
    ) -> None:
        super().__init__(
            routes=health_routes(bus, prefix=prefix, readiness=readiness, details=details),
            lifespan=bus.lifespan,
        )
