"""The base tables of the warehouse, as `tables.yaml` lists them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from schemas.yaml_files import load_yaml

TABLES_FILE = Path(__file__).with_name("tables.yaml")

#: The units of a whole credit: DECIMAL(18,12).
CREDIT_SCALE = 12

_POLARS_TYPES: dict[str, pl.DataType] = {
    "text": pl.String(),
    "integer": pl.Int64(),
    "boolean": pl.Boolean(),
    "timestamp": pl.Datetime("us", "UTC"),
    "date": pl.Date(),
    "credit": pl.Decimal(18, CREDIT_SCALE),
    "credits": pl.Decimal(38, CREDIT_SCALE),
    "texts": pl.List(pl.String()),
}


class Column(BaseModel):
    """A column: its type as `tables.yaml` names it, and what it means."""

    model_config = ConfigDict(frozen=True)
    name: str
    type: str
    doc: str


class Table(BaseModel):
    """A base table: its key, columns in order, and what a row is."""

    model_config = ConfigDict(frozen=True)
    name: str
    doc: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    digest: bool = True

    @property
    def polars_schema(self) -> pl.Schema:
        """Columns and types of a frame that holds the table."""
        return pl.Schema({column.name: _POLARS_TYPES[column.type] for column in self.columns})

    def empty(self) -> pl.DataFrame:
        """Give the table without rows."""
        return pl.DataFrame(schema=self.polars_schema)


def _table(name: str, entry: dict[str, Any]) -> Table:
    columns = tuple(
        Column(name=column, type=kind, doc=doc) for column, (kind, doc) in entry["columns"].items()
    )
    return Table(
        name=name,
        doc=entry["doc"],
        key=tuple(entry["key"]),
        columns=columns,
        digest=entry.get("digest", True),
    )


@lru_cache(maxsize=8)
def load_tables(file: Path = TABLES_FILE) -> dict[str, Table]:
    """Load the base tables, in their order."""
    entries = load_yaml(file)
    return {name: _table(name, entry) for name, entry in entries.items()}
