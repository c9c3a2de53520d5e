"""The databases that storages are tested on: where a fresh one is had, and how it goes away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

from peftnas.search.storage import sqlite_url
from tests.services.postgres import URL, Server

_HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("COMMIT")
"""


class Place(Protocol):
    """A database for one test.

    Attributes:
        url: of an empty database.
    """

    url: str

    @classmethod
    def fresh(cls, folder: Path) -> Iterator[Place]: ...

    def away(self, seconds: float) -> Iterator[None]:
        """Nobody can write for so long: entered when that has begun, left when it is over."""
        ...


class SqlitePlace:
    """A file, which another process holds a lock on."""

    def __init__(self, folder: Path) -> None:
        self.url = sqlite_url(folder)
        self.file = folder / "study.db"

    @classmethod
    def fresh(cls, folder: Path) -> Iterator[SqlitePlace]:
        yield cls(folder)

    @contextmanager
    def away(self, seconds: float) -> Iterator[None]:
        command = [sys.executable, "-c", _HOLD, str(self.file), str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None and holder.stdout.readline() == "held\n"
            yield
        assert holder.returncode == 0


class PostgresPlace:
    """A database of its own on the server that an environment variable names."""

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def fresh(cls, folder: Path) -> Iterator[PostgresPlace]:
        server = os.environ.get(URL)
        if not server:
            pytest.skip(f"no PostgreSQL server: {URL} names none; make test-services starts one")
        name = f"peftnas_{uuid.uuid4().hex}"
        engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        yield cls(make_url(server).set(database=name).render_as_string(hide_password=False))
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        engine.dispose()

    @contextmanager
    def away(self, seconds: float) -> Iterator[None]:
        server = Server.named_in_environment()
        if server is None:
            pytest.skip("only a server of our own may be stopped; make test-services starts one")
        server.stop()
        began = time.monotonic()
        try:
            yield
        finally:
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            server.start()
