"""Forgets what an inbox has known for longer than it is to be kept."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, Table, delete, select, text, tuple_

from convex_messaging_fastapi.outbox.claiming import inserting_unless_there
from convex_messaging_fastapi.outbox.tables import MessagingTables, utc_now
from convex_messaging_fastapi.outbox.transactions import MYSQL, Blocking, connection_of

AT_ONCE = 1_000
"""How many rows are deleted in one go: more would hold up whoever waits for the transaction."""

LEASE = "cleanup"


def clean(target: Blocking, tables: MessagingTables, retention: timedelta) -> None:
    """Delete the oldest claims that are older than `retention`, unless another process is at it.

    The clock is the database's. What the database raises rises.
    """
    inbox = tables.inbox
    connection = connection_of(target, delete(inbox))
    dialect = connection.dialect.name
    # SQLite has one writer at a time anyhow.
    if dialect != "sqlite" and not _has_lease(connection, tables.lease):
        return
    before = connection.execute(select(utc_now())).scalar_one() - retention
    if dialect in MYSQL:
        # It takes no LIMIT in a subquery, and for rows named by two columns it might read the whole table.
        name = connection.dialect.identifier_preparer.format_table(inbox)
        old = text(f"delete from {name} where handled_at < :before order by handled_at limit {AT_ONCE}")  # noqa: S608 - names of ours
        connection.execute(old, {"before": before})
        return
    key = inbox.c.handler, inbox.c.message_id
    oldest = select(*key).where(inbox.c.handled_at < before).order_by(inbox.c.handled_at).limit(AT_ONCE)
    connection.execute(delete(inbox).where(tuple_(*key).in_(oldest)))


def _has_lease(connection: Connection, lease: Table) -> bool:
    """Whether nobody else cleans until this transaction ends."""
    dialect = connection.dialect.name
    row = {"name": LEASE, "token": 0, "until": utc_now()}
    connection.execute(inserting_unless_there(dialect, lease, row, {"name": lease.c.name}))
    name = LEASE.encode() if dialect in MYSQL else LEASE
    mine = select(lease.c.name).where(lease.c.name == name).with_for_update(skip_locked=True)
    return connection.execute(mine).first() is not None
