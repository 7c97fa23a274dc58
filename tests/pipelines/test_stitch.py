"""The stitch through Beam, store and warehouse gives the tables of the heart, whatever the batches."""

from __future__ import annotations

import json

import polars as pl
import pytest

from connectors.bus import Bus
from milepost.rules import Rules
from pipelines import stitch_rebuild
from pipelines.mapping_versions import REBUILD
from pipelines.stitch import run_stitch
from pipelines.stitch_publish import AuditWithheldError
from schemas.tables import load_tables
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
from tests.places import Place
from tests.strategies import hostile_facts, hostile_rules, to_frames
from warehouse.places import places_of


@pytest.mark.parametrize("seed", range(20 if LAW_RUNS >= 1000 else 5))
def test_any_batches_through_beam_give_the_tables_of_the_heart(seed: int, place: Place) -> None:
    facts, rules = to_frames(hostile_facts(seed, 150)), hostile_rules(seed)
    for number, batch in enumerate(put_batches(facts, 1 + seed % 4, seed)):
        put(place, batch, number)
        report = stitch_home(place, rules)
        assert report.mode == ("increment" if number else "rebuild")
    assert_published(place, expected_tables(facts, rules))


@pytest.mark.parametrize("seed", range(100, 103 if LAW_RUNS >= 1000 else 101))
def test_a_rebuild_of_several_shards_changes_nothing(
    seed: int, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, rules = to_frames(hostile_facts(seed, 300)), Rules()
    for number, batch in enumerate(put_batches(facts, 2, seed)):
        put(place, batch, number)
        stitch_home(place, rules)
    before = published_digests(place)
    monkeypatch.setattr(stitch_rebuild, "SHARD_FACTS", 20)
    report = stitch_home(place, rules, rebuild=True)
    assert report.mode == "rebuild"
    assert published_digests(place) == before
    assert_published(place, expected_tables(facts, rules))


def test_nothing_new_publishes_nothing(place: Place) -> None:
    put(place, to_frames(hostile_facts(1, 50)), 0)
    stitch_home(place, Rules())
    report = stitch_home(place, Rules())
    assert report.mode == "nothing"
    assert report.publication is None


def test_a_batch_of_nothing_but_duplicates_changes_nothing(place: Place) -> None:
    facts = to_frames(hostile_facts(2, 80))
    put(place, facts, 0)
    stitch_home(place, Rules())
    before = published_digests(place)
    later = {
        name: frame.with_columns(pl.col("received_at") + pl.duration(days=1)) for name, frame in facts.items()
    }
    put(place, later, 1)
    report = stitch_home(place, Rules())
    assert set(report.fates["fate"]) <= {"duplicate", "superseded", "conflict"}
    assert published_digests(place) == before


def test_changed_settings_rebuild_and_say_so(place: Place) -> None:
    facts = to_frames(hostile_facts(3, 80))
    put(place, facts, 0)
    stitch_home(place, Rules())
    changed = Rules(half_life_days=30)
    report = run_stitch(request(place, changed, "other rules"))
    assert report.reasons == ("mappings, vocabulary or settings changed",)
    assert_published(place, expected_tables(facts, changed))


def test_every_fact_has_a_fate(place: Place) -> None:
    facts = to_frames(hostile_facts(4, 200))
    yielded = 0
    for number, batch in enumerate(put_batches(facts, 3, 4)):
        put(place, batch, number)
        report = stitch_home(place, Rules())
        arrived = sum(frame.height for frame in batch.values())
        assert report.fates["facts"].sum() == arrived
        yielded += arrived
    assert yielded == sum(frame.height for frame in facts.values())


def test_a_failed_critical_expectation_withholds_the_publication(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, to_frames(hostile_facts(5, 60)), 0)
    stitch_home(place, Rules())
    before = published_digests(place)
    facts = to_frames(hostile_facts(6, 120))
    put(place, facts, 1)

    def losing_money(conversions: pl.DataFrame, *rest: object) -> pl.DataFrame:
        return credited(conversions, *rest).with_columns(pl.col("amount_micros") + 1)

    from milepost import stitch as heart

    credited = heart.credit_conversions
    monkeypatch.setattr(heart, "credit_conversions", losing_money)
    with pytest.raises(AuditWithheldError, match="credits") as withheld:
        stitch_home(place, Rules())
    assert withheld.value.report.audit is not None
    assert published_digests(place) == before
    monkeypatch.undo()
    report = stitch_home(place, Rules())
    assert report.fates["facts"].sum() == sum(frame.height for frame in facts.values())


def test_a_rebuild_that_was_asked_for_is_asked_for_until_it_is_published(place: Place) -> None:
    facts = to_frames(hostile_facts(9, 60))
    put(place, facts, 0)
    stitch_home(place, Rules())
    with places_of(place.home, place.store_url) as places:
        places.store.set_state(REBUILD, "for the test")

    def fail(name: str) -> None:
        if name == "commit":
            raise RuntimeError(name)

    with pytest.raises(RuntimeError, match="commit"):
        run_stitch(request(place, Rules()), step=fail)
    report = stitch_home(place, Rules())
    assert report.mode == "rebuild"
    assert stitch_home(place, Rules()).mode == "nothing"
    with places_of(place.home, place.store_url) as places:
        assert places.store.state(REBUILD) is None


def test_a_publication_says_what_it_is(place: Place) -> None:
    put(place, to_frames(hostile_facts(7, 60)), 0)
    report = stitch_home(place, Rules())
    with places_of(place.home, place.store_url, reading=True) as places:
        table = load_tables()["publications"]
        listed = ", ".join(column.name for column in table.columns)
        query = f"SELECT {listed} FROM journey.publications"
        (row,) = places.warehouse.query(query, table.polars_schema).to_dicts()
        (as_of,) = places.warehouse.column("clock", "as_of")
    assert report.publication is not None
    assert row["publication_id"] == report.publication.publication_id
    assert row["facts"] == report.publication.facts
    assert json.loads(row["audit"])
    assert as_of == row["published_at"]


def test_a_bus_file_that_grew_is_stitched_again(place: Place) -> None:
    facts = to_frames(hostile_facts(8, 60))
    short = {"touchpoint": facts["touchpoint"].head(10)}
    put(place, short, 0)
    stitch_home(place, Rules())
    (path,) = Bus(place.home).current_files("touchpoint")
    Bus(place.home).write("touchpoint", path.stem, facts["touchpoint"])
    report = stitch_home(place, Rules())
    assert report.reasons == ("records were mapped anew",)
    assert_published(place, expected_tables({**to_frames({}), "touchpoint": facts["touchpoint"]}, Rules()))
