"""What databases say in different words: their time, and texts that are bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    SmallInteger,
    TableValuedAlias,
    bindparam,
    column,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine

MYSQL = ("mysql", "mariadb")

_SQLITE_NOW = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def is_in(column: ColumnElement[Any], state: int) -> ColumnElement[bool]:
    """Whether a row is in this state; it stands in the text, for only so is a partial index used."""
    return column == bindparam(None, state, literal_execute=True, unique=True)


def with_floors(lanes: Sequence[int], floors: Mapping[int, int]) -> TableValuedAlias:
    """On PostgreSQL: a table of these lanes, each with its floor, which is 0 where none is given."""
    return (
        func.unnest(
            bindparam("lanes", lanes, type_=ARRAY(SmallInteger)),
            bindparam("floors", [floors.get(lane, 0) for lane in lanes], type_=ARRAY(BigInteger)),
        )
        .table_valued(column("lane", SmallInteger), column("floor", BigInteger), name="mine")
        .render_derived()
    )


def reading_committed(engine: AsyncEngine) -> AsyncEngine:
    """The same engine for a relay, whatever level its owner uses: each statement sees what is committed."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="READ COMMITTED")


class Words:
    """The words of one dialect. Every time is the database's own: the clocks of services differ."""

    def __init__(self, dialect: str) -> None:
        self.dialect: str = dialect
        self.is_mysql: bool = dialect in MYSQL
        self.is_postgresql: bool = dialect == "postgresql"

    def now(self) -> ColumnElement[Any]:
        """The time, as leases keep it."""
        return literal_column(self._now())

    def later(self, seconds: float) -> ColumnElement[Any]:
        """The same, `seconds` from now."""
        if self.is_postgresql:
            return literal_column(f"{self._now()} + interval '{seconds:.3f} seconds'")
        if self.is_mysql:
            return literal_column(f"{self._now()} + INTERVAL {round(seconds * 1_000_000)} MICROSECOND")
        return literal_column(f"{self._now()} + {round(seconds * 1000)}")

    def long_ago(self) -> ColumnElement[Any]:
        """A time at which every lease is over."""
        return literal_column("0" if self.dialect == "sqlite" else "'2000-01-01 00:00:00'")

    def age(self, column: ColumnElement[Any]) -> ColumnElement[float]:
        """Seconds since the time in a column that is no lease's."""
        if self.is_postgresql:
            told = f"EXTRACT(EPOCH FROM clock_timestamp() - {column})"
        elif self.is_mysql:
            told = f"TIMESTAMPDIFF(MICROSECOND, {column}, utc_timestamp(6)) / 1000000"
        else:
            told = f"(julianday('now') - julianday({column})) * 86400"
        return literal_column(told, Float())

    def size(self, column: ColumnElement[Any]) -> ColumnElement[int]:
        """Bytes of a value, 0 of none. PostgreSQL knows it without reading the value."""
        return func.coalesce(func.length(column), 0)

    def written(self, text: str) -> Any:
        """A text for a column that is compared byte for byte."""
        return text.encode() if self.is_mysql else text

    def read(self, told: Any) -> str:
        """The text of such a column."""
        return told.decode() if isinstance(told, bytes | bytearray) else str(told)

    def _now(self) -> str:
        if self.is_postgresql:
            return "clock_timestamp()"
        return "utc_timestamp(6)" if self.is_mysql else _SQLITE_NOW
