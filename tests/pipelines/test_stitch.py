"""The stitch through Beam, store and warehouse gives the tables of the heart, whatever the batches."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from connectors.bus import Bus
from milepost.rules import Rules
from pipelines import stitch_rebuild
from pipelines.stitch import run_stitch
from pipelines.stitch_publish import AuditWithheldError
from tests.conftest import LAW_RUNS
from tests.pipelines.stitching import (
    assert_published,
    expected_tables,
    published_digests,
    put,
    put_batches,
    request,
    stitch_home,
)
from tests.strategies import hostile_facts, hostile_rules, to_frames
from warehouse.definitions import WORKING_COPY, open_warehouse, single_value


@pytest.mark.parametrize("seed", range(20 if LAW_RUNS >= 1000 else 5))
def test_any_batches_through_beam_give_the_tables_of_the_heart(seed: int, tmp_path: Path) -> None:
    facts, rules = to_frames(hostile_facts(seed, 150)), hostile_rules(seed)
    for number, batch in enumerate(put_batches(facts, 1 + seed % 4, seed)):
        put(tmp_path, batch, number)
        report = stitch_home(tmp_path, rules)
        assert report.mode == ("increment" if number else "rebuild")
    assert_published(tmp_path, expected_tables(facts, rules))


@pytest.mark.parametrize("seed", range(100, 103 if LAW_RUNS >= 1000 else 101))
def test_a_rebuild_of_several_shards_changes_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, rules = to_frames(hostile_facts(seed, 300)), Rules()
    for number, batch in enumerate(put_batches(facts, 2, seed)):
        put(tmp_path, batch, number)
        stitch_home(tmp_path, rules)
    before = published_digests(tmp_path)
    monkeypatch.setattr(stitch_rebuild, "SHARD_FACTS", 20)
    report = stitch_home(tmp_path, rules, rebuild=True)
    assert report.mode == "rebuild"
    assert published_digests(tmp_path) == before
    assert_published(tmp_path, expected_tables(facts, rules))


def test_nothing_new_publishes_nothing(tmp_path: Path) -> None:
    put(tmp_path, to_frames(hostile_facts(1, 50)), 0)
    stitch_home(tmp_path, Rules())
    report = stitch_home(tmp_path, Rules())
    assert report.mode == "nothing"
    assert report.publication is None


def test_a_batch_of_nothing_but_duplicates_changes_nothing(tmp_path: Path) -> None:
    facts = to_frames(hostile_facts(2, 80))
    put(tmp_path, facts, 0)
    stitch_home(tmp_path, Rules())
    before = published_digests(tmp_path)
    later = {
        name: frame.with_columns(pl.col("received_at") + pl.duration(days=1)) for name, frame in facts.items()
    }
    put(tmp_path, later, 1)
    report = stitch_home(tmp_path, Rules())
    assert set(report.fates["fate"]) <= {"duplicate", "superseded", "conflict"}
    assert published_digests(tmp_path) == before


def test_changed_settings_rebuild_and_say_so(tmp_path: Path) -> None:
    facts = to_frames(hostile_facts(3, 80))
    put(tmp_path, facts, 0)
    stitch_home(tmp_path, Rules())
    changed = Rules(half_life_days=30)
    report = run_stitch(request(tmp_path, changed, "other rules"))
    assert report.reasons == ("mappings, vocabulary or settings changed",)
    assert_published(tmp_path, expected_tables(facts, changed))


def test_every_fact_has_a_fate(tmp_path: Path) -> None:
    facts = to_frames(hostile_facts(4, 200))
    yielded = 0
    for number, batch in enumerate(put_batches(facts, 3, 4)):
        put(tmp_path, batch, number)
        report = stitch_home(tmp_path, Rules())
        arrived = sum(frame.height for frame in batch.values())
        assert report.fates["facts"].sum() == arrived
        yielded += arrived
    assert yielded == sum(frame.height for frame in facts.values())


def test_a_failed_critical_expectation_withholds_the_publication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, to_frames(hostile_facts(5, 60)), 0)
    stitch_home(tmp_path, Rules())
    before = published_digests(tmp_path)
    facts = to_frames(hostile_facts(6, 120))
    put(tmp_path, facts, 1)

    def losing_money(conversions: pl.DataFrame, *rest: object) -> pl.DataFrame:
        return credited(conversions, *rest).with_columns(pl.col("amount_micros") + 1)

    from milepost import stitch as heart

    credited = heart.credit_conversions
    monkeypatch.setattr(heart, "credit_conversions", losing_money)
    with pytest.raises(AuditWithheldError, match="credits") as withheld:
        stitch_home(tmp_path, Rules())
    assert withheld.value.report.audit is not None
    assert published_digests(tmp_path) == before
    monkeypatch.undo()
    report = stitch_home(tmp_path, Rules())
    assert report.fates["facts"].sum() == sum(frame.height for frame in facts.values())


def test_a_publication_says_what_it_is(tmp_path: Path) -> None:
    put(tmp_path, to_frames(hostile_facts(7, 60)), 0)
    report = stitch_home(tmp_path, Rules())
    connection = open_warehouse(tmp_path / WORKING_COPY, read_only=True)
    try:
        row = connection.sql("SELECT * FROM journey.publications").pl().row(0, named=True)
        as_of = single_value(connection, "SELECT as_of FROM journey.clock")
    finally:
        connection.close()
    assert report.publication is not None
    assert row["publication_id"] == report.publication.publication_id
    assert row["facts"] == report.publication.facts
    assert json.loads(row["audit"])
    assert as_of == row["published_at"]


def test_a_bus_file_that_grew_is_stitched_again(tmp_path: Path) -> None:
    facts = to_frames(hostile_facts(8, 60))
    short = {"touchpoint": facts["touchpoint"].head(10)}
    put(tmp_path, short, 0)
    stitch_home(tmp_path, Rules())
    (path,) = Bus(tmp_path).current_files("touchpoint")
    Bus(tmp_path).write("touchpoint", path.stem, facts["touchpoint"])
    report = stitch_home(tmp_path, Rules())
    assert report.reasons == ("records were mapped anew",)
    assert_published(tmp_path, expected_tables({**to_frames({}), "touchpoint": facts["touchpoint"]}, Rules()))
