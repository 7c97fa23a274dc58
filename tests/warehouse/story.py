"""The story of `filling` as a warehouse that tests ask."""

from __future__ import annotations

from functools import cache
from typing import Any

import duckdb

from tests.warehouse.filling import STORY, rows, warehouse


@cache
def story() -> duckdb.DuckDBPyConnection:
    return warehouse(STORY)


@cache
def empty() -> duckdb.DuckDBPyConnection:
    return warehouse({})


def one(query: str, connection: duckdb.DuckDBPyConnection | None = None) -> dict[str, Any]:
    found = rows(connection or story(), query)
    assert len(found) == 1, found
    return found[0]


def picked(query: str, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows(story(), query)]
