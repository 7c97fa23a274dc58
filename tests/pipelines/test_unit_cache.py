"""A cache in front of the store changes no table, whatever is evicted, aborted, merged or said twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from milepost.rules import Rules
from milepost.units import Nodes, find_nodes
from pipelines.staging import Staging
from pipelines.stitch import publish_increment
from pipelines.stitch_publish import Change
from pipelines.stitch_rebuild import StitchSettings, staged_schema
from pipelines.unit_cache import MOST_FACTS, MOST_NODES, UnitCache, with_cache
from schemas.contracts import FACT_TYPES, empty_facts
from schemas.vocabulary import load_vocabulary
from tests.conftest import LAW_RUNS
from tests.pipelines.stitching import NOW, assert_published, expected_tables, put_batches
from tests.places import Place
from tests.strategies import START, fact, hostile_facts, hostile_rules, to_frames
from warehouse.places import Places, open_places
from warehouse.store import fact_columns

Frames = dict[str, pl.DataFrame]
VOCABULARY = load_vocabulary()

#: Bounds that hold everything, some of the facts, next to nothing, and facts but no nodes.
BOUNDS = [(MOST_FACTS, MOST_NODES), (160, MOST_NODES), (2, MOST_NODES), (MOST_FACTS, 10)]


class KilledError(Exception):
    """A publication died."""


@contextmanager
def cached_places(home: Path, most_facts: int, most_nodes: int) -> Iterator[tuple[Places, UnitCache]]:
    """Open places whose store has a cache."""
    places = open_places(home)
    try:
        places.warehouse.create(VOCABULARY)
        cached = with_cache(places.store, most_facts, most_nodes)
        assert isinstance(cached, UnitCache)
        places.store = cached
        yield places, cached
    finally:
        places.close()


def decoded(batch: Mapping[str, pl.DataFrame]) -> tuple[Frames, list[Nodes]]:
    """Give facts and nodes of a batch as a running process has them."""
    facts, nodes = {}, []
    for name in FACT_TYPES:
        schema = staged_schema(name, VOCABULARY)
        said = batch.get(name, empty_facts(name))
        found = find_nodes(said, name, VOCABULARY)
        marks = {"unit": pl.lit(0, pl.UInt64), "key": pl.Series(found.keys)}
        missing = [
            pl.lit(None, schema[column]).alias(column) for column in schema if column not in said.columns
        ]
        facts[name] = said.with_columns(missing).with_columns(**marks).select(list(schema)).cast(schema)
        nodes.append(found)
    return facts, nodes


def publish(
    places: Places, batch: Frames, rules: Rules, home: Path, step: Callable[[str], None] = lambda _: None
) -> None:
    """Publish a batch."""
    settings = StitchSettings(Staging(str(home / "staging")), VOCABULARY, rules, "test")
    publish_increment(places, settings, *decoded(batch), Change(NOW, "rules"), step=step)


def assert_remembers(cached: UnitCache) -> None:
    """Fail where the cache would answer otherwise than the store behind it."""
    known = cached.store.units_of(None).unique()
    nodes, units = known.get_column("node").to_numpy(), known.get_column("unit").unique().to_numpy()
    asked = np.concatenate([nodes, np.arange(10, dtype=np.uint64)])
    assert cached.units_of(asked).unique().sort("node").equals(known.sort("node"))
    for some in (units, units[::2], units[:0]):
        held, stored = cached.load_facts(some), cached.store.load_facts(some)
        for name in FACT_TYPES:
            schema = pl.Schema(fact_columns(name))
            assert held[name].schema == schema
            assert held[name].sort("event_id").equals(stored[name].cast(schema).sort("event_id")), name


@pytest.mark.parametrize("bounds", BOUNDS, ids=["all", "some", "little", "no nodes"])
@pytest.mark.parametrize("seed", range(12 if LAW_RUNS >= 1000 else 2))
def test_a_cache_changes_no_table(seed: int, bounds: tuple[int, int], tmp_path: Path) -> None:
    facts, rules = to_frames(hostile_facts(seed, 160)), hostile_rules(seed)
    batches = put_batches(facts, 6, seed)
    # What came before comes again, so that there are batches of duplicates too.
    batches.insert(4, batches[1])
    with cached_places(tmp_path, *bounds) as (places, cached):
        for batch in batches:
            publish(places, batch, rules, tmp_path)
            assert_remembers(cached)
    assert_published(Place(tmp_path), expected_tables(facts, rules))


@pytest.mark.parametrize("dies", ["warehouse", "audit", "store", "in the store's transaction"])
@pytest.mark.parametrize("seed", range(20, 30 if LAW_RUNS >= 1000 else 21))
def test_a_publication_that_dies_leaves_no_trace(
    seed: int, dies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, rules = to_frames(hostile_facts(seed, 160)), Rules()
    chance = random.Random(seed)

    def die(step: str) -> None:
        if step == dies:
            raise KilledError

    with cached_places(tmp_path, MOST_FACTS, MOST_NODES) as (places, cached):
        for batch in put_batches(facts, 5, seed):
            if chance.random() < 0.7:
                with monkeypatch.context() as patched:
                    if dies == "in the store's transaction":
                        patched.setattr(cached.store, "add_to_outbox", lambda *_: die(dies))
                    with pytest.raises(KilledError):
                        publish(places, batch, rules, tmp_path, die)
                assert_remembers(cached)
            publish(places, batch, rules, tmp_path)
            assert_remembers(cached)
    assert_published(Place(tmp_path), expected_tables(facts, rules))


def test_a_cache_of_a_store_that_is_there_knows_it(tmp_path: Path) -> None:
    facts = to_frames(hostile_facts(40, 120))
    first, second = put_batches(facts, 2, 40)
    with cached_places(tmp_path, MOST_FACTS, MOST_NODES) as (places, _):
        publish(places, first, Rules(), tmp_path)
    with cached_places(tmp_path, MOST_FACTS, MOST_NODES) as (places, cached):
        assert_remembers(cached)
        assert cached.facts == places.store.fact_count()
        publish(places, second, Rules(), tmp_path)
        assert_remembers(cached)
    assert_published(Place(tmp_path), expected_tables(facts, Rules()))


def test_a_change_outside_of_a_publication_is_seen(tmp_path: Path) -> None:
    facts = to_frames(hostile_facts(41, 80))
    with cached_places(tmp_path, MOST_FACTS, MOST_NODES) as (places, cached):
        publish(places, facts, Rules(), tmp_path)
        gone = facts["touchpoint"].get_column("event_id").head(5)
        cached.delete_facts("touchpoint", gone)
        assert_remembers(cached)
        with cached.emptied():
            pass
        assert cached.units_of(np.arange(3, dtype=np.uint64)).height == 0
        assert cached.facts == 0


def test_units_that_were_not_used_lately_are_forgotten(tmp_path: Path) -> None:
    """Customers who have nothing to do with one another come by turns."""
    with cached_places(tmp_path, 40, MOST_NODES) as (places, cached):
        for turn in range(14):
            visits = [
                fact(
                    "touchpoint",
                    10 * turn + number,
                    kind="site_visit",
                    occurred_at=START,
                    identifiers=[f"user:{turn}"],
                )
                for number in range(10)
            ]
            publish(places, to_frames({"touchpoint": visits}), Rules(), tmp_path)
            assert cached.facts <= 40 + 10
        assert_remembers(cached)
