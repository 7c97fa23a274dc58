"""The heart's stitching of a simulated market, measured against the truth."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from milepost.rules import Rules
from milepost.simulate import SimulationSummary, simulate, stitching_quality
from milepost.stitch import Tables, stitch
from schemas.vocabulary import load_vocabulary
from tests.simulate.connected import KEY, facts_of


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> SimulationSummary:
    return simulate(customers=4_000, seed=11, out=tmp_path_factory.mktemp("stitched") / "project")


@pytest.fixture(scope="module")
def tables(market: SimulationSummary) -> Tables:
    facts, rejected = facts_of(market.project)
    assert rejected == 0
    return stitch(facts, load_vocabulary(), Rules())


def test_nearly_all_is_found_and_nearly_nothing_is_wrong(market: SimulationSummary, tables: Tables) -> None:
    quality = stitching_quality(pl.read_parquet(market.truth), tables["identities"], KEY)
    assert quality.missing == 0
    assert quality.precision >= 0.999
    assert quality.recall >= 0.98
    # What no record connects, nobody can find: browsers of people who never gave a name there.
    assert quality.recall_of_all < quality.recall


def test_the_protections_have_work_to_do(tables: Tables) -> None:
    statuses = set(tables["identity_links"]["status"].unique())
    assert {"joined", "refused", "shared"} <= statuses
    assert tables["journeys"]["shared"].any()


def test_every_stage_every_status_and_every_model_occurs(tables: Tables) -> None:
    vocabulary = load_vocabulary()
    assert set(tables["conversions"]["stage"].unique()) == {"conversion", "retain", "grow"}
    assert set(tables["journeys"]["furthest_stage"].drop_nulls().unique()) == set(vocabulary.stages)
    assert set(tables["journeys"]["status"].unique()) == {"open", "customer", "lost", "churned"}
    assert tables["credits"]["model"].n_unique() == 8
    assert tables["handovers"]["status"].n_unique() == 2


def test_no_table_is_empty_but_for_what_is_rare(tables: Tables) -> None:
    empty = {name for name, table in tables.items() if table.is_empty()}
    assert empty <= {"unmatched_refunds"}


def test_erased_people_are_gone(market: SimulationSummary, tables: Tables) -> None:
    assert set(tables["erasures"]["status"]) == {"applied"}
    asked = pl.read_csv(next(Path(market.project / "data" / "erasures").glob("*.csv")))
    hashed = [KEY.hash("email", address) for address in asked["address"]]
    assert tables["identities"].filter(pl.col("value").is_in(hashed)).is_empty()
