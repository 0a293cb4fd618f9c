"""The app: three routes that publish, and a few that show what came of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.middleware.base import RequestResponseEndpoint

from convex_messaging_fastapi import Bus, CorrelationMiddleware, MessageBus, MessagingRouter, PublishError
from example_app.console import include_console
from example_app.handlers import StoreOf, subscribers
from example_app.log import configure
from example_app.messages import BetPlaced, Card, Email, Id, UserCreated
from example_app.settings import settings
from example_app.store import Store

bus = MessageBus(settings())
bus.include(subscribers)
bus.publishes("user.created", UserCreated)
bus.publishes("bet.placed", BetPlaced)
messaging_router = MessagingRouter(bus, asyncapi=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The store opens before the bus starts and closes after it has drained."""
    configure()
    app.state.store = Store(os.environ.get("EXAMPLE_DATABASE", ":memory:"))
    try:
        yield
    finally:
        app.state.store.close()


app = FastAPI(title="Bets", lifespan=lifespan)
app.include_router(messaging_router)
include_console(app, bus, os.environ)
app.add_middleware(CorrelationMiddleware)  # the X-Request-ID of a request goes along to its last handler


@app.exception_handler(PublishError)
async def not_announced(request: Request, error: PublishError) -> JSONResponse:
    """Kafka is away: what was stored stays, unannounced. Who must not have that keeps an outbox."""
    return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": "5"})


@app.exception_handler(RequestValidationError)
async def not_understood(request: Request, error: RequestValidationError) -> JSONResponse:
    """Without what was sent: JSON cannot carry all of it back, such as half of a character, or 1e400."""
    problems = [{"loc": p["loc"], "msg": p["msg"], "type": p["type"]} for p in error.errors()]
    return JSONResponse({"detail": problems}, status_code=422)


@app.middleware("http")
async def no_sniffing(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """What others wrote into a message is shown as data: no browser is to take it for a page."""
    response = await call_next(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


class NewUser(BaseModel):
    email: Email = Field(examples=["ada@example.com"])


class NewBet(BaseModel):
    user_id: Id
    stake: Decimal = Field(gt=0, max_digits=12, decimal_places=2, examples=["10.00"])
    card: Card = Field("4242", description="`declined` and `expired` make the payment fail")


@app.post("/users", status_code=201)
async def create_user(user: NewUser, bus: Bus, store: StoreOf) -> dict[str, int]:
    user_id = store.add_user(user.email)
    event = UserCreated(user_id=user_id, email=user.email, created_at=datetime.now(UTC))
    await bus.publish("user.created", event, key=str(user_id))
    return {"user_id": user_id}


@app.post("/bets", status_code=201)
async def place_bet(bet: NewBet, bus: Bus, store: StoreOf) -> dict[str, int]:
    bet_id = store.add_bet(bet.user_id, str(bet.stake), bet.card)
    event = BetPlaced(bet_id=bet_id, user_id=bet.user_id, stake=bet.stake, card=bet.card)
    await bus.publish("bet.placed", event, key=str(bet.user_id))
    return {"bet_id": bet_id}


@app.get("/users")
async def list_users(store: StoreOf) -> list[dict[str, Any]]:
    return store.users()


@app.get("/bets")
async def list_bets(store: StoreOf) -> list[dict[str, Any]]:
    return store.bets()


@app.get("/dead-letters")
async def list_dead_letters(store: StoreOf) -> list[dict[str, Any]]:
    return store.dead_letters()


@app.get("/handled")
async def list_handled(store: StoreOf) -> list[dict[str, Any]]:
    return store.handled()
