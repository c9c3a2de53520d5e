"""The databases that studies are kept in."""

from __future__ import annotations

from tests.search.storage.conformance import StorageConformance
from tests.search.storage.places import PostgresPlace, SqlitePlace


class TestSqlite(StorageConformance):
    kind = SqlitePlace


class TestPostgres(StorageConformance):
    kind = PostgresPlace
