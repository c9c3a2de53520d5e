"""The lease: one row of a table of ours says which process may write a study.

A row is taken and renewed by statements that name the row as it was last seen, so of two processes
one changes it and the other changes nothing, on every database. Its heartbeat is written and
judged by the database's clock: those of two hosts may differ by minutes.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy
from sqlalchemy import Column, Double, Integer, MetaData, String, Table, Text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.sql import ColumnElement

from peftnas.search.storage.failures import LeaseLostError, is_there_already
from peftnas.search.storage.holder import Holder

LEASES = Table(
    "peftnas_leases",
    MetaData(),
    Column("study", String(512), primary_key=True),
    Column("token", String(32), nullable=False),
    Column("holder", Text, nullable=False),
    Column("beats", Integer, nullable=False),
    Column("heartbeat", Double, nullable=False),
)


@dataclass(frozen=True)
class Seen:
    """A lease as it was read at one moment.

    Attributes:
        token: of the one who took it.
        holder: who that is.
        beats: how often it was renewed.
        age_s: seconds since it was renewed.
    """

    token: str
    holder: Holder
    beats: int
    age_s: float


@dataclass(frozen=True)
class Lease:
    """The right to write a study.

    Attributes:
        study: its name.
        token: what the row holds as long as the right is ours.
    """

    study: str
    token: str

    def renew(self, engine: Engine) -> None:
        """Write a heartbeat.

        Raises:
            LeaseLostError: if another process has taken the study over.
        """
        with engine.begin() as connection:
            beat = (
                sqlalchemy.update(LEASES)
                .where(LEASES.c.study == self.study, LEASES.c.token == self.token)
                .values(beats=LEASES.c.beats + 1, heartbeat=_clock(connection))
            )
            if connection.execute(beat).rowcount != 1:
                raise self._lost(connection)

    def confirm(self, connection: Connection) -> None:
        """Make sure, within a transaction that writes, that the study is ours at its commit.

        Raises:
            LeaseLostError: if another process has taken it over.
        """
        # where rows can be locked, nobody takes the study over before the commit
        held = _row_of(self.study).with_for_update(read=True)
        row = connection.execute(held).one_or_none()
        if row is None or row.token != self.token:
            raise self._lost(connection)

    def give_up(self, engine: Engine) -> None:
        """Leave the study to whoever comes; nothing happens if it was taken over."""
        ours = (LEASES.c.study == self.study) & (LEASES.c.token == self.token)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.delete(LEASES).where(ours))

    def _lost(self, connection: Connection) -> LeaseLostError:
        row = connection.execute(_row_of(self.study)).one_or_none()
        who = "another process" if row is None else Holder.from_json(row.holder).words()
        return LeaseLostError(
            f"study {self.study!r} was taken over by {who}, since this process was silent for too "
            "long; it has stopped writing, and what it had finished is kept"
        )


def make_table(engine: Engine) -> None:
    """Make the table of leases where it is missing."""
    try:
        LEASES.create(engine, checkfirst=True)
    except SQLAlchemyError as error:
        if not is_there_already(error):
            raise


def look(engine: Engine, study: str) -> Seen | None:
    """The lease of a study; ``None`` where nobody holds it."""
    if not sqlalchemy.inspect(engine).has_table(LEASES.name):
        return None
    with engine.connect() as connection:
        row = connection.execute(
            sqlalchemy.select(
                LEASES.c.token,
                LEASES.c.holder,
                LEASES.c.beats,
                (_clock(connection) - LEASES.c.heartbeat).label("age_s"),
            ).where(LEASES.c.study == study)
        ).one_or_none()
    if row is None:
        return None
    return Seen(row.token, Holder.from_json(row.holder), row.beats, float(row.age_s))


def take(engine: Engine, study: str, holder: Holder, seen: Seen | None) -> Lease | None:
    """Take a lease that is free, or over from the one that was seen.

    Returns:
        The lease; ``None`` if it has changed since it was seen.
    """
    lease = Lease(study, uuid.uuid4().hex)
    with engine.begin() as connection:
        ours = {
            "token": lease.token,
            "holder": holder.to_json(),
            "beats": 0,
            "heartbeat": _clock(connection),
        }
        if seen is None:
            try:
                with connection.begin_nested():
                    connection.execute(sqlalchemy.insert(LEASES).values(study=study, **ours))
            except IntegrityError:
                return None
            return lease
        as_seen = (LEASES.c.token == seen.token) & (LEASES.c.beats == seen.beats)
        taken = connection.execute(
            sqlalchemy.update(LEASES).where(LEASES.c.study == study, as_seen).values(**ours)
        )
        return lease if taken.rowcount == 1 else None


def _row_of(study: str) -> sqlalchemy.Select[tuple[str, str]]:
    return sqlalchemy.select(LEASES.c.token, LEASES.c.holder).where(LEASES.c.study == study)


def _clock(connection: Connection) -> ColumnElement[float]:
    """Seconds since 1970 by the clock of the database."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        text = "(julianday('now') - 2440587.5) * 86400.0"
    elif dialect == "postgresql":
        text = "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"
    else:
        text = "unix_timestamp()"  # MySQL, MariaDB
    return sqlalchemy.literal_column(text, Double)
