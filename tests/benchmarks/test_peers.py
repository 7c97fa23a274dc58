"""The peers do the same job: their five tables equal the row-by-row reference, and each other."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest

from benchmarks import beam_peer, duckdb_peer
from benchmarks.compare import MODELS, TABLES, database_digests, differing_tables, parquet_digests
from benchmarks.events import EventFiles, prepare_events
from milepost.rules import Rules
from schemas.tables import load_tables
from schemas.vocabulary import load_vocabulary
from tests.reference import reference_stitch


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> EventFiles:
    return prepare_events(2_000, seed=3, cache=tmp_path_factory.mktemp("events"))


@pytest.fixture(scope="module")
def database(events: EventFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("duckdb") / "peer.duckdb"
    duckdb_peer.run(events.parquet, path)
    return path


def test_the_duckdb_script_equals_the_reference(events: EventFiles, database: Path) -> None:
    facts = pl.read_parquet(events.parquet / "*.parquet").to_dicts()
    expected = reference_stitch({"touchpoint": facts}, load_vocabulary(), Rules(models=MODELS))
    with duckdb.connect(database, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in TABLES:
            table = load_tables()[name]
            columns = list(table.polars_schema)
            rows = connection.sql(f"SELECT {', '.join(columns)} FROM journey.{name}").to_arrow_table()
            got = pl.DataFrame(pl.from_arrow(rows)).cast(table.polars_schema).sort(table.key)
            wanted = pl.DataFrame(
                [{column: row[column] for column in columns} for row in expected[name]],
                schema=table.polars_schema,
            )
            assert got.equals(wanted.sort(table.key)), name


def test_plain_beam_equals_the_duckdb_script(events: EventFiles, database: Path, tmp_path: Path) -> None:
    beam_peer.run(events.bus, tmp_path)
    assert differing_tables(parquet_digests(tmp_path), database_digests(database)) == []


def test_a_changed_row_changes_the_digest(database: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.duckdb"
    changed.write_bytes(database.read_bytes())
    with duckdb.connect(changed) as connection:
        connection.execute(
            "UPDATE journey.credits SET amount_micros = amount_micros + 1 "
            "WHERE rowid = (SELECT min(rowid) FROM journey.credits)"
        )
    assert differing_tables(database_digests(database), database_digests(changed)) == ["credits"]
