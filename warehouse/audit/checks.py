"""The vectorised pass: count what violates each expectation and law, over all rows, in one go per table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary, load_vocabulary
from warehouse.audit.expectations import Expectation, load_laws, table_expectations
from warehouse.audit.laws import LAWS, with_sums

#: How many ids of violating rows a result shows at most.
MOST_EXAMPLES = 20

VIOLATIONS_SCHEMA = pl.Schema(
    {
        "expectation": pl.String(),
        "table": pl.String(),
        "severity": pl.String(),
        "doc": pl.String(),
        "rows": pl.Int64(),
        "violations": pl.Int64(),
        "examples": pl.List(pl.String()),
    }
)


def _bound(value: Any, kind: pl.DataType | None) -> Any:
    """Give a bound in the column's type: YAML reads both days and times as dates."""
    if isinstance(value, date) and isinstance(kind, pl.Datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def _between(expectation: Expectation, kind: pl.DataType | None) -> pl.Expr:
    column = pl.col(expectation.column)
    violated = pl.lit(value=False)
    if expectation.min is not None:
        violated = violated | (column < _bound(expectation.min, kind))
    if expectation.max is not None:
        violated = violated | (column > _bound(expectation.max, kind))
    return violated


def violation(expectation: Expectation, vocabulary: Vocabulary, kind: pl.DataType | None = None) -> pl.Expr:
    """Give the expression that is true for the rows that violate a row-level expectation.

    `kind` is the type of the expectation's column. Raises `KeyError` for checks that look at several rows.
    """
    column = pl.col(expectation.column or expectation.columns[0])
    rules: Mapping[str, Callable[[], pl.Expr]] = {
        "not_null": column.is_null,
        "between": lambda: _between(expectation, kind),
        "words": lambda: ~column.is_in(expectation.words(vocabulary)),
        "in_set": lambda: ~column.is_in(expectation.words(vocabulary)),
        "matches": lambda: ~column.str.contains(expectation.pattern),
        "no_longer_than": lambda: column.str.len_chars() > expectation.max,
        "no_shorter_than": lambda: column.str.len_chars() < expectation.min,
        "beside": lambda: column.is_not_null() & pl.col(expectation.needs).is_null(),
        "not_before": lambda: column < pl.col(expectation.than),
    }
    return rules[expectation.check]().fill_null(value=False)


def _repeated(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """Give the rows whose key an earlier row has. Hashes are compared first: they are quick, and seldom equal."""
    keys = frame.select(columns)
    if keys.hash_rows(0).n_unique() == frame.height:
        return frame.clear()
    return frame.filter(~keys.select(pl.struct(columns).is_first_distinct()).to_series())


def _row(
    expectation: str, table: str, severity: str, doc: str, rows: int, violations: int, examples: pl.Series
) -> dict[str, object]:
    return {
        "expectation": expectation, "table": table, "severity": severity, "doc": doc, "rows": rows,
        "violations": violations, "examples": examples.cast(pl.String).to_list(),
    }  # fmt: skip


def _table_violations(
    table: str, frame: pl.DataFrame, expectations: tuple[Expectation, ...], vocabulary: Vocabulary
) -> list[dict[str, object]]:
    by_row = {
        expectation.name: violation(expectation, vocabulary, frame.schema.get(expectation.column))
        for expectation in expectations
        if expectation.check not in ("unique", "empty")
    }
    counts = dict.fromkeys(by_row, 0)
    if frame.height:
        counts = frame.select(rule.sum().alias(name) for name, rule in by_row.items()).row(0, named=True)
    key = load_tables()[table].key[0]
    found = []
    for expectation in expectations:
        if expectation.check == "unique":
            wrong = _repeated(frame, expectation.columns)
        elif expectation.check == "empty":
            wrong = frame
        elif counts[expectation.name]:
            wrong = frame.filter(by_row[expectation.name])
        else:
            wrong = frame.clear()
        examples = wrong.get_column(expectation.show or key).head(MOST_EXAMPLES)
        found.append(
            _row(
                expectation.name, table, expectation.severity, expectation.doc,
                frame.height, wrong.height, examples,
            )
        )  # fmt: skip
    return found


def count_violations(
    tables: Mapping[str, pl.DataFrame], *, whole: bool = True, vocabulary: Vocabulary | None = None
) -> pl.DataFrame:
    """Count the violations of every expectation and law over all rows of the tables that are given.

    `whole` says that the frames hold all rows of the warehouse; otherwise laws that hold only for all rows
    together are left out, as are those that read a table that is not given. The result has columns `expectation`,
    `table`, `severity`, `doc` (text), `rows`, `violations` (integer), and `examples` (a list of at most 20 ids).
    """
    words = vocabulary or load_vocabulary()
    found = []
    for table, expectations in table_expectations().items():
        if table in tables:
            found += _table_violations(table, tables[table], expectations, words)
    summed = with_sums(tables)
    for law in load_laws():
        if all(name in tables for name in law.tables) and (whole or not law.whole):
            wrong = LAWS[law.name](summed, words)
            rows = tables[law.table].height
            found.append(
                _row(law.name, law.table, law.severity, law.doc, rows, wrong.len(), wrong.head(MOST_EXAMPLES))
            )
    return pl.DataFrame(found, schema=VIOLATIONS_SCHEMA)


def combine_violations(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Sum the counts of several passes, such as those over shards of the customers."""
    if not parts:
        return pl.DataFrame(schema=VIOLATIONS_SCHEMA)
    return (
        pl.concat(parts)
        .group_by("expectation", "table", "severity", "doc", maintain_order=True)
        .agg(
            pl.col("rows").sum(),
            pl.col("violations").sum(),
            pl.col("examples").explode().drop_nulls().head(MOST_EXAMPLES),
        )
        .cast(VIOLATIONS_SCHEMA)
    )
