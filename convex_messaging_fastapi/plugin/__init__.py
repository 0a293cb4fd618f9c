"""How a FastAPI or Starlette app takes in a bus: its router, its lifespan, its dependency, its probes."""

from convex_messaging_fastapi.plugin.correlation import CorrelationMiddleware
from convex_messaging_fastapi.plugin.dependencies import Bus, get_bus
from convex_messaging_fastapi.plugin.health import health_routes
from convex_messaging_fastapi.plugin.router import MessagingRouter

__all__ = ["Bus", "CorrelationMiddleware", "MessagingRouter", "get_bus", "health_routes"]
