"""What the service does when it hears something."""

from __future__ import annotations

from typing import Annotated
from uuid import NAMESPACE_OID, uuid5

from fastapi import Depends
from fastapi.requests import HTTPConnection

from convex_messaging_fastapi import Bus, DeadLetterMessage, Delivery, Retry, Subscribers
from example_app.messages import BetPlaced, SendWelcome, TakePayment, UserCreated
from example_app.store import Store

subscribers = Subscribers()
subscribers.publishes("user.notifications", SendWelcome)
subscribers.publishes("payments", TakePayment)


def get_store(connection: HTTPConnection) -> Store:
    """The store that the app's lifespan opened; the same function serves routes and handlers."""
    store: Store = connection.app.state.store
    return store


StoreOf = Annotated[Store, Depends(get_store)]


class CardDeclined(Exception):
    """The bank said no."""


class CardExpired(Exception):
    """The bank would not even look."""


@subscribers.subscriber("user.created")
async def greet(event: UserCreated, delivery: Delivery, store: StoreOf, bus: Bus) -> None:
    """Ask for a welcome mail. Sent before the inbox is written: at least once, never not at all."""
    command = SendWelcome(user_id=event.user_id, email=event.email)
    await bus.send("user.notifications", command, headers=caused_by(delivery, "welcome"))
    store.first_time("greet", identity(delivery))


@subscribers.receiver("user.notifications")
async def send_welcome(command: SendWelcome, delivery: Delivery, store: StoreOf) -> None:
    """One of all the replicas sends it."""
    with store.transaction():
        if store.first_time("send_welcome", identity(delivery)):
            store.welcome(command.user_id)


@subscribers.subscriber("bet.placed")
async def collect_stake(event: BetPlaced, delivery: Delivery, store: StoreOf, bus: Bus) -> None:
    payment = TakePayment(bet_id=event.bet_id, amount=event.stake, card=event.card)
    await bus.send("payments", payment, key=str(event.user_id), headers=caused_by(delivery, "payment"))
    store.first_time("collect_stake", identity(delivery))


@subscribers.receiver("payments", retry=Retry(attempts=3, delay_seconds=0.2))
async def take_payment(command: TakePayment, delivery: Delivery, store: StoreOf) -> None:
    """Fails for the cards `declined` and `expired`: three tries, then it is buried."""
    if command.card == "declined":
        raise CardDeclined(f"the bank declined the payment for bet {command.bet_id}")
    if command.card == "expired":
        raise CardExpired(f"the card of bet {command.bet_id} has expired")
    with store.transaction():
        if store.first_time("take_payment", identity(delivery)):
            store.set_bet_status(command.bet_id, "paid")


@subscribers.subscriber("dlq", dead_letter="discard")
async def note_dead_letter(letter: DeadLetterMessage, delivery: Delivery, store: StoreOf) -> None:
    """The dead letters are a topic like any other, so this service can show its own.

    A dead letter is never buried again: one that cannot be read would hold its partition for good, and
    anybody who may write to that topic could send one. It stays where it is; what is discarded is only
    the showing.
    """
    with store.transaction():
        if store.first_time("note_dead_letter", identity(delivery)):
            store.add_dead_letter(
                letter.original_topic,
                letter.original_message,
                letter.error_message,
                letter.failed_at.isoformat(),
            )


def identity(delivery: Delivery) -> str:
    """What tells a repeat from a new message: its id, or its place where a producer gave it none."""
    return delivery.message_id or f"{delivery.topic}/{delivery.partition}/{delivery.offset}"


def caused_by(delivery: Delivery, what: str) -> dict[str, str]:
    """The same id for what the same message causes, so that its receiver knows a repeat."""
    return {"message-id": str(uuid5(NAMESPACE_OID, f"{what} of {identity(delivery)}"))}
