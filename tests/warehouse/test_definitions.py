"""The warehouse's tables: made from the contract, documented, versioned, and true to frames."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.tables import load_tables
from tests.warehouse.filling import STORY, frame, warehouse
from warehouse.definitions import (
    WAREHOUSE_VERSION,
    WarehouseVersionError,
    create_warehouse,
    insert_files,
    open_warehouse,
    read_frame,
    read_version,
    sql_types,
    write_frames,
)


def test_every_table_and_column_is_created_with_its_meaning() -> None:
    connection = duckdb.connect()
    create_warehouse(connection)
    found = connection.execute(
        "SELECT table_name, list(column_name ORDER BY column_index), count(comment) FROM duckdb_columns()"
        " WHERE schema_name = 'journey' GROUP BY table_name"
    ).fetchall()
    columns = {name: (names, comments) for name, names, comments in found}
    for table in load_tables().values():
        assert columns[table.name] == ([c.name for c in table.columns], len(table.columns))


def test_creating_again_keeps_rows_and_does_nothing() -> None:
    connection = warehouse(STORY)
    assert create_warehouse(connection) is False
    assert len(read_frame(connection, load_tables()["touchpoints"])) == len(STORY["touchpoints"])
    assert read_version(connection) == WAREHOUSE_VERSION


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland"])
def test_frames_come_back_as_they_went_in_whatever_the_time_zone_of_the_session(zone: str) -> None:
    connection = duckdb.connect()
    create_warehouse(connection)
    connection.execute(f"SET TimeZone = '{zone}'")
    frames = {name: frame(name, rows) for name, rows in STORY.items()}
    written = write_frames(connection, frames)
    assert written == {name: len(rows) for name, rows in STORY.items()}
    for name, expected in frames.items():
        assert_frame_equal(read_frame(connection, load_tables()[name]), expected, check_row_order=False)


def test_replacing_leaves_only_the_new_rows() -> None:
    connection = warehouse(STORY)
    write_frames(connection, {"spend": frame("spend", [STORY["spend"][0]])}, "replace")
    assert read_frame(connection, load_tables()["spend"])["event_id"].to_list() == ["s1"]


def test_a_missing_column_is_named() -> None:
    connection = warehouse({})
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="campaign_id"):
        write_frames(connection, {"spend": frame("spend", [STORY["spend"][0]]).drop("campaign_id")})


def test_a_warehouse_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journeys.duckdb"
    with open_warehouse(path) as connection:
        create_warehouse(connection)
        connection.execute("UPDATE journey.warehouse_version SET version = version + 1")
    for read_only in (False, True):
        with pytest.raises(
            WarehouseVersionError, match=r"journeys\.duckdb is of version 2.*Install the newer"
        ):
            open_warehouse(path, read_only=read_only)
    raw = duckdb.connect(str(path))
    with pytest.raises(WarehouseVersionError):
        create_warehouse(raw)
    assert read_version(raw) == WAREHOUSE_VERSION + 1


def test_rows_of_parquet_files_are_appended_whatever_the_names_of_their_folders(tmp_path: Path) -> None:
    folder = tmp_path / "odd [a]*?"
    folder.mkdir()
    rows = [
        {
            "subject_type": "customer",
            "subject_id": "a",
            "measure": "booked",
            "currency": "EUR",
            "amount_micros": 1,
        },
        {
            "subject_type": "customer",
            "subject_id": "b",
            "measure": "net",
            "currency": "EUR",
            "amount_micros": 2,
        },
    ]
    pl.DataFrame(rows[:1]).write_parquet(folder / "one.parquet")
    pl.DataFrame(rows[1:]).drop("currency").write_parquet(folder / "other.parquet")
    money = load_tables()["money"]
    with open_warehouse(tmp_path / "journeys.duckdb") as connection:
        create_warehouse(connection)
        insert_files(connection, "journey.money", sql_types(money), sorted(folder.iterdir()))
        found = read_frame(connection, money).sort("subject_id").to_dicts()
    assert found == [rows[0], {**rows[1], "currency": None}]


def test_times_of_parquet_files_keep_their_instant(tmp_path: Path) -> None:
    entered = datetime(2024, 3, 31, 1, 30, tzinfo=UTC)
    entries = pl.DataFrame({"customer_id": ["c"], "event_id": ["e"], "entered_at": [entered]})
    entries.cast({"entered_at": pl.Datetime("us", "UTC")}).write_parquet(tmp_path / "entries.parquet")
    table = load_tables()["stage_entries"]
    with open_warehouse(tmp_path / "journeys.duckdb") as connection:
        create_warehouse(connection)
        insert_files(connection, "journey.stage_entries", sql_types(table), [tmp_path / "entries.parquet"])
        assert read_frame(connection, table).get_column("entered_at").to_list() == [entered]
