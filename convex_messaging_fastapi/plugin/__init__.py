"""Brings a bus into a FastAPI or Starlette app: router, lifespan, dependency, probes."""

from convex_messaging_fastapi.plugin.correlation import CorrelationMiddleware
from convex_messaging_fastapi.plugin.dependencies import Bus, get_bus
from convex_messaging_fastapi.plugin.health import health_routes
from convex_messaging_fastapi.plugin.router import MessagingRouter

__all__ = ["Bus", "CorrelationMiddleware", "MessagingRouter", "get_bus", "health_routes"]
