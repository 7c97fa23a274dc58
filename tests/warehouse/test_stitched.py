"""What the heart makes of hostile facts: audits raise no false alarm, views keep their grain and the totals."""

from __future__ import annotations

from functools import cache

import polars as pl
import pytest

from milepost.stitch import stitch
from schemas.tables import load_tables
from tests.strategies import VOCABULARY, hostile_facts, hostile_rules, to_frames
from tests.warehouse.filling import AS_OF, frame, rows, warehouse
from warehouse.audit import audit, count_violations, count_whole_violations, quarantine
from warehouse.definitions import write_frames
from warehouse.digest import frame_digests, table_digests
from warehouse.embedded.tables import EmbeddedWarehouse
from warehouse.views import all_views

SEEDS = range(3)


@cache
def stitched(seed: int) -> dict[str, pl.DataFrame]:
    good, _ = quarantine(to_frames(hostile_facts(seed, 300)), VOCABULARY)
    tables = {name: table.empty() for name, table in load_tables().items()}
    return (
        tables
        | dict(stitch(good, VOCABULARY, hostile_rules(seed)))
        | {"clock": frame("clock", [{"as_of": AS_OF}])}
    )


@pytest.mark.parametrize("seed", range(12))
def test_no_critical_expectation_fails_where_nothing_is_wrong(seed: int) -> None:
    failed = count_violations(stitched(seed)).filter(
        (pl.col("violations") > 0) & (pl.col("severity") == "critical")
    )
    assert failed.rows() == []


@pytest.mark.parametrize("seed", SEEDS)
def test_great_expectations_agrees_over_all_rows(seed: int) -> None:
    assert audit(stitched(seed), full=True).explain() == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_the_database_holds_what_the_frames_hold_and_its_views_keep_grain_and_totals(seed: int) -> None:
    tables, connection = stitched(seed), warehouse({})
    write_frames(connection, tables)
    assert table_digests(connection) == frame_digests(tables)
    assert count_whole_violations(EmbeddedWarehouse(connection))["violations"].sum() == 0
    for name, view in all_views().items():
        keys = [
            tuple(row.values()) for row in rows(connection, f"SELECT {', '.join(view.grain)} FROM {name}")
        ]
        assert len(keys) == len(set(keys)), name
    totals = "SELECT currency, sum(spend_micros) AS spend, sum(booked_micros) AS booked FROM {} GROUP BY 1 ORDER BY 1"
    expected = rows(connection, totals.format("shared.totals_by_month"))
    for view_name in ("marketing.channels", "marketing.campaigns"):
        one_model = f"(FROM {view_name} WHERE model = (SELECT min(model) FROM {view_name}))"
        assert rows(connection, totals.format(one_model)) == expected
