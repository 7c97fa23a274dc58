"""Runs a mapping in DuckDB over batches of raw records."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from connectors.errors import MappingError
from connectors.ids import canonical_record_sql, quoted_name, record_digest_sql
from connectors.mapping.columns import Column, choose_columns
from connectors.mapping.convert import conversion
from connectors.mapping.faults import FAULT_SCHEMA, RECORD_FAULTS, Probe, Search, redacted, write_probes
from connectors.mapping.statement import RAW, ROW, Statement, keys_named_again, read_statement
from schemas.vocabulary import Vocabulary

MEMORY_LIMIT = "2GB"
#: A mapping may name a column that no JSON record of a batch has; more than so many can't be meant.
_MOST_ABSENT = 200
_ABSENT = re.compile(
    r'Referenced column "(?P<a>[^"]+)" (?:was )?not found|does not have a column named "(?P<b>[^"]+)"'
    r'|Column "(?P<c>[^"]+)" referenced that exists in the SELECT clause'
)


@dataclass(frozen=True)
class Mapped:
    """What a mapping made of a batch.

    `rows` has a column per yielded one (see `conversion`) and, for record mappings, `_row` (Int64).
    `faults` are the records that it fails on: `_row` (Int64), `reason` (String).
    """

    rows: pl.DataFrame
    faults: pl.DataFrame


@dataclass(frozen=True)
class _Compiled:
    sql: str
    absent: tuple[str, ...]
    columns: tuple[Column, ...]
    probes: tuple[Probe, ...]


class MappingEngine:
    """A mapping with its lookups, ready to run; belongs to one thread."""

    def __init__(
        self,
        *,
        file: str,
        text: str,
        fact: str,
        unit: str,
        system: str,
        zone: str,
        lookups: dict[str, pa.Table],
        vocabulary: Vocabulary,
    ) -> None:
        """Check the mapping and open a DuckDB that can reach nothing but its lookups.

        Raises:
            MappingError: the mapping may not run; names the file, the piece and the remedy.
        """
        self.file, self.fact, self.unit, self.system, self.zone = file, fact, unit, system, zone
        self.vocabulary = vocabulary
        self.statement: Statement = read_statement(text, file, unit, frozenset(lookups))
        self._compiled: dict[tuple[tuple[str, str], ...], _Compiled] = {}
        self._connection = _closed_connection(lookups)

    def map_batch(self, raw: pa.Table, absent_is_null: bool = False) -> Mapped:
        """Map raw records.

        Args:
            raw: the records, with `_row` (Int64) as their number; for a file mapping the whole file.
            absent_is_null: whether a column that the records don't have is NULL (JSON) or a mistake.

        Raises:
            MappingError: the mapping doesn't fit these columns.
        """
        compiled = self._compile(raw.schema, absent_is_null)
        for name in compiled.absent:
            raw = raw.append_column(name, pa.nulls(raw.num_rows, pa.string()))
        try:
            return Mapped(
                self._frame([self._run(compiled, raw)], compiled), pl.DataFrame(schema=FAULT_SCHEMA)
            )
        except RECORD_FAULTS:
            return self._map_around_faults(compiled, raw)
        except duckdb.Error as error:
            raise MappingError(f"{self.file}: {redacted(error)}") from error

    def digests(self, raw: pa.Table) -> pl.DataFrame:
        """Give `_row` (Int64) and `digest` (String): SHA-256 over the source and the canonical raw record."""
        return self._over_raw(raw, record_digest_sql(self.system, _names(raw.schema)), "digest")

    def canonical(self, raw: pa.Table) -> pl.DataFrame:
        """Give `_row` (Int64) and `record` (String): the raw records as canonical JSON."""
        return self._over_raw(raw, canonical_record_sql(_names(raw.schema)), "record")

    def _over_raw(self, raw: pa.Table, expression: str, name: str) -> pl.DataFrame:
        self._connection.register(RAW, raw)
        sql = f"SELECT {ROW}, {expression} AS {name} FROM {RAW}"  # noqa: S608
        return _polars(self._connection.sql(sql).to_arrow_table())

    def _run(self, compiled: _Compiled, raw: pa.Table) -> pa.Table:
        self._connection.register(RAW, raw)
        return self._connection.sql(compiled.sql).to_arrow_table()

    def _frame(self, tables: list[pa.Table], compiled: _Compiled) -> pl.DataFrame:
        frame = pl.concat([_polars(table) for table in tables]) if tables else None
        if frame is None:
            # Every record failed; the columns are those of a run over none.
            none = f"SELECT * FROM ({compiled.sql}) LIMIT 0"  # noqa: S608
            frame = _polars(self._connection.sql(none).to_arrow_table())
        return frame.sort(ROW, maintain_order=True) if ROW in frame.columns else frame

    def _map_around_faults(self, compiled: _Compiled, raw: pa.Table) -> Mapped:
        """Map the records that the mapping doesn't fail on, and tell the others."""
        suspects = self._suspects(compiled, raw)
        certain = suspects.filter("exact").drop("exact")
        rest = _without(raw, certain[ROW])
        search = Search(lambda part: self._run(compiled, part))
        try:
            results = [self._run(compiled, rest)]
        except RECORD_FAULTS:
            doubtful = suspects.filter(~pl.col("exact"))[ROW]
            for part in (_without(rest, doubtful), _only(rest, doubtful)):
                search.search(part)
            results = search.results
        found = pl.DataFrame(search.faults, schema=FAULT_SCHEMA, orient="row")
        faults = pl.concat([certain, found]).sort(ROW)
        if self.unit == "file" and search.faults:
            # Aggregates of halves are not the aggregates of the file: once more over all good records.
            try:
                results = [self._run(compiled, _without(raw, faults[ROW]))]
            except RECORD_FAULTS as error:
                raise MappingError(f"{self.file}: {redacted(error)}") from error
        return Mapped(self._frame(results, compiled), faults)

    def _suspects(self, compiled: _Compiled, raw: pa.Table) -> pl.DataFrame:
        """Give `_row`, `reason` and `exact` of the records that a probe says fail."""
        self._connection.register(RAW, raw)
        found = [pl.DataFrame(schema={**FAULT_SCHEMA, "exact": pl.Boolean})]
        for probe in compiled.probes:
            try:
                table = self._connection.sql(probe.sql).to_arrow_table()
            except duckdb.Error:
                continue  # an expression that may not stand under TRY: halving finds its records
            found.append(_polars(table).cast(FAULT_SCHEMA).with_columns(pl.lit(probe.exact).alias("exact")))
        return (
            pl.concat(found)
            .sort("exact", descending=True, maintain_order=True)
            .unique(ROW, keep="first", maintain_order=True)
        )

    def _compile(self, schema: pa.Schema, absent_is_null: bool) -> _Compiled:
        key = tuple((field.name, str(field.type)) for field in schema)
        if key not in self._compiled:
            self._compiled[key] = self._compile_schema(schema, absent_is_null)
        return self._compiled[key]

    def _compile_schema(self, schema: pa.Schema, absent_is_null: bool) -> _Compiled:
        absent: list[str] = []
        if absent_is_null:
            there = {field.name.lower() for field in schema}
            absent = [name for name in keys_named_again(self.statement) if name.lower() not in there]
        while True:
            known = [*schema, *(pa.field(name, pa.string()) for name in absent)]
            self._connection.register(RAW, pa.schema(known).empty_table())
            try:
                described = self._connection.execute(f"DESCRIBE {self.statement.carrying}").fetchall()
                break
            except duckdb.Error as error:
                missing = _ABSENT.search(str(error))
                name = (missing["a"] or missing["b"] or missing["c"]) if missing else None
                if absent_is_null and name is not None and name not in absent and len(absent) < _MOST_ABSENT:
                    absent.append(name)
                    continue
                columns = ", ".join(field.name for field in schema if field.name != ROW)
                # Behind LINE stands the text with `_row` in it, which its author did not write.
                message = str(error).split("\n\nLINE")[0].split("\nCandidate")[0].strip()
                raise MappingError(f"{self.file}: {message}\nThe records have: {columns}") from error
        yielded = [(str(row[0]), str(row[1])) for row in described if str(row[0]).lower() != ROW]
        chosen = choose_columns(self.file, self.fact, yielded, self.vocabulary)
        carries = self.unit == "record"
        projections = conversion(self.file, chosen, self.system, self.zone, carries)
        sql = f"SELECT {', '.join(projections)} FROM (\n{self.statement.carrying}\n) AS yielded"  # noqa: S608
        raw_columns = frozenset(field.name.lower() for field in known)
        probes = tuple(write_probes(self.statement, raw_columns))
        return _Compiled(sql, tuple(absent), tuple(column for column, _, _ in chosen), probes)


def _closed_connection(lookups: dict[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB in memory with the lookups as tables, one thread (so that order is kept), and no way out."""
    spill = Path(tempfile.gettempdir()) / "milepost-mapping"
    connection = duckdb.connect(
        config={"threads": 1, "memory_limit": MEMORY_LIMIT, "temp_directory": str(spill)}
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET python_enable_replacements = false")
    for name, table in lookups.items():
        connection.register("lookup_rows", table)
        connection.execute(f"CREATE TABLE {quoted_name(name)} AS FROM lookup_rows")
        connection.unregister("lookup_rows")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _names(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(field.name, str(field.type)) for field in schema if field.name != ROW]


def _polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("an Arrow table becomes a frame")
    return frame


def _without(raw: pa.Table, rows: pl.Series) -> pa.Table:
    return _chosen(raw, rows, False)


def _only(raw: pa.Table, rows: pl.Series) -> pa.Table:
    return _chosen(raw, rows, True)


def _chosen(raw: pa.Table, rows: pl.Series, wanted: bool) -> pa.Table:
    if rows.is_empty():
        return raw.slice(0, 0) if wanted else raw
    among = pl.Series(raw.column(ROW).to_numpy()).is_in(rows.implode())
    return raw.filter(pa.array((among if wanted else ~among).to_numpy()))
