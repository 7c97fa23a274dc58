"""Which raw records a mapping fails on, so that the others go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import duckdb
import polars as pl
import pyarrow as pa
from sqlglot import exp

from connectors.ids import quoted
from connectors.mapping.statement import RAW, ROW, Statement

#: Faults of a record, not of the mapping or the machine.
RECORD_FAULTS = (
    duckdb.ConversionException,
    duckdb.InvalidInputException,
    duckdb.OutOfRangeException,
    duckdb.DataError,
)
#: Runs that the search for failing records may take; what is left fails as a whole.
SEARCH_RUNS = 1_000
#: What the whole search found and could not find, row by row.
FAULT_SCHEMA = pl.Schema({ROW: pl.Int64, "reason": pl.String})

#: Expressions whose value depends on more than one record, or that may not stand under TRY.
_NOT_PROBED = (exp.AggFunc, exp.Window, exp.Query, exp.Explode, exp.Unnest, exp.Star, exp.Try, exp.Columns)


@dataclass(frozen=True)
class Probe:
    """A query over `raw` that yields (`_row`, `reason`) of records that an expression fails on.

    `exact`: every record found fails in the mapping as well; otherwise it may, and has to be tried.
    """

    sql: str
    exact: bool


def write_probes(statement: Statement, raw_columns: frozenset[str]) -> list[Probe]:
    """Write a probe for each SELECT that reads `raw` itself."""
    probes = []
    for select in statement.tree.find_all(exp.Select):
        clause = select.args.get("from_")
        if clause is None or not isinstance(clause.this, exp.Table) or clause.this.name.lower() != RAW:
            continue
        probe = _probe(statement, select, clause.this, raw_columns)
        if probe is not None:
            probes.append(probe)
    return probes


def _probe(
    statement: Statement, select: exp.Select, table: exp.Table, raw_columns: frozenset[str]
) -> Probe | None:
    alias = table.alias_or_name.lower()
    joins = select.args.get("joins") or []
    own = {alias} if joins else {alias, ""}
    lone = not joins and statement.unit == "record" and _is_branch(select)
    where = select.args.get("where")
    conditions = list(where.this.flatten()) if where and isinstance(where.this, exp.And) else []
    if where is not None and not conditions:
        conditions = [where.this]
    usable = [condition for condition in conditions if _of_raw(condition, own, raw_columns)]
    tests: list[tuple[str, exp.Expr]] = [("WHERE", condition) for condition in usable]
    for projection in select.expressions:
        tests.extend(
            (projection.alias_or_name or "a column", piece)
            for piece in _pieces(projection.unalias(), own, raw_columns)
        )
    if not tests:
        return None
    reasons = []
    for label, piece in tests:
        sql = piece.sql(dialect="duckdb")
        shown = sql if len(sql) <= 120 else sql[:117] + "..."
        said = quoted(f"{label}: {shown} can't be computed")
        fails = f"TRY(({sql}) IS NULL) IS NULL"
        if label != "WHERE":
            fails += "".join(f" AND TRY({other.sql(dialect='duckdb')})" for other in usable)
        reasons.append(f"CASE WHEN {fails} THEN {said} END")
    shown_table = table.sql(dialect="duckdb")
    sql = (
        f"SELECT * FROM (SELECT {table.alias_or_name}.{ROW} AS {ROW}, "  # noqa: S608
        f"concat_ws('; ', {', '.join(reasons)}) AS reason FROM {shown_table}) WHERE reason <> ''"
    )
    lossy = any(piece.find(exp.RegexpLike) is not None for _, piece in tests)
    return Probe(sql, exact=lone and len(usable) == len(conditions) and not lossy)


def _is_branch(select: exp.Select) -> bool:
    """Say whether the select is the mapping itself or a part of its UNION ALL: nothing filters behind it."""
    parent = select.parent
    while isinstance(parent, exp.SetOperation):
        parent = parent.parent
    return parent is None


def _of_raw(expression: exp.Expr, own: set[str], raw_columns: frozenset[str]) -> bool:
    return not any(isinstance(node, _NOT_PROBED) for node in expression.walk()) and all(
        column.table.lower() in own and column.name.lower() in raw_columns
        for column in expression.find_all(exp.Column)
    )


def _pieces(expression: exp.Expr, own: set[str], raw_columns: frozenset[str]) -> Iterator[exp.Expr]:
    """Yield the largest parts of the expression that one record alone decides."""
    if isinstance(expression, exp.Query):
        return
    if _of_raw(expression, own, raw_columns):
        if any(not isinstance(node, exp.Column | exp.Identifier | exp.Literal) for node in expression.walk()):
            yield expression
        return
    if isinstance(expression, exp.Case | exp.If | exp.Coalesce):
        return  # only one of its branches is computed
    for child in expression.iter_expressions():
        if not isinstance(child, exp.DataType):
            yield from _pieces(child, own, raw_columns)


def redacted(error: Exception) -> str:
    """Give the first line of DuckDB's message without the values that it quotes."""
    line = str(error).strip().splitlines()[0]
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", line)[:300]


class Search:
    """Finds the records that a mapping fails on by halving; what passes is kept on the way."""

    def __init__(self, run: Callable[[pa.Table], pa.Table]) -> None:
        self.run = run
        self.runs = 0
        self.results: list[pa.Table] = []
        self.faults: list[tuple[int, str]] = []

    def search(self, raw: pa.Table) -> None:
        """Run the mapping over the records, halving where it fails."""
        pending = [raw]
        while pending:
            part = pending.pop()
            if part.num_rows == 0:
                continue
            self.runs += 1
            try:
                self.results.append(self.run(part))
            except RECORD_FAULTS as error:
                if part.num_rows == 1 or self.runs > SEARCH_RUNS:
                    self._fail(part, redacted(error))
                    continue
                half = part.num_rows // 2
                pending.extend((part.slice(half), part.slice(0, half)))

    def _fail(self, part: pa.Table, reason: str) -> None:
        if part.num_rows > 1:
            reason += f" (in one of {part.num_rows} records; too many failed to try each by itself)"
        self.faults.extend((row, reason) for row in part.column(ROW).to_pylist())
