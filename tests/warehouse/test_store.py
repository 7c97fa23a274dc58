"""What every kind of store keeps: state, offsets, the outbox, and marks of facts; and the way from older versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import polars as pl
import psycopg
import pytest

from schemas.vocabulary import load_vocabulary
from tests.places import KINDS, Place
from warehouse.embedded.store import EmbeddedStore
from warehouse.places import Places, open_places, places_of
from warehouse.store import OUTBOX, STORE_VERSION, StoreVersionError


@pytest.fixture
def places(place: Place) -> Iterator[Places]:
    with places_of(place.home, place.store_url) as opened:
        yield opened


def test_offsets_are_replaced_partition_by_partition(places: Places) -> None:
    store = places.store
    with store.transaction():
        store.set_offsets({("milepost.spend", 0): 5, ("milepost.spend", 1): 7})
    with store.transaction():
        store.set_offsets({("milepost.spend", 1): 2**40})
    assert store.offsets() == {("milepost.spend", 0): 5, ("milepost.spend", 1): 2**40}


def test_a_transaction_that_fails_leaves_nothing(places: Places) -> None:
    store = places.store

    def fail() -> None:
        with store.transaction():
            store.set_offsets({("milepost.spend", 0): 5})
            store.set_state("anything", "changed")
            store.add_to_outbox("p-1", pl.Series(["c-1"]))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert store.offsets() == {}
    assert store.state("anything") is None
    assert store.outbox(10).is_empty()


def test_a_state_is_replaced_within_a_transaction_and_without(places: Places) -> None:
    store = places.store
    for value in ("one", "two", None, None, "three"):
        store.set_state("anything", value)
        assert store.state("anything") == value
    with store.transaction():
        for value in (None, "four", "five"):
            store.set_state("anything", value)
    assert store.state("anything") == "five"


def test_the_outbox_is_emptied_from_its_oldest_end(places: Places) -> None:
    store = places.store
    for publication, customers in (("p-1", ["c-2", "c-1", "c-2"]), ("p-2", ["c-1"]), ("p-3", [])):
        with store.transaction():
            store.add_to_outbox(publication, pl.Series(customers, dtype=pl.String))
    oldest = store.outbox(2)
    assert oldest.schema == OUTBOX
    assert oldest.select("customer_id", "publication_id").rows() == [("c-1", "p-1"), ("c-2", "p-1")]
    store.clear_outbox(int(oldest["sequence"].max()))
    assert store.outbox(10)["publication_id"].to_list() == ["p-2"]
    with store.transaction():
        store.add_to_outbox("p-4", pl.Series(["c-9"]))
    assert store.outbox(10)["publication_id"].to_list() == ["p-2", "p-4"]


def test_a_store_of_a_newer_version_is_refused_and_left_alone(place: Place) -> None:
    with places_of(place.home, place.store_url) as opened:
        opened.store.set_state("version", "99")
    for _ in range(2):
        with pytest.raises(StoreVersionError, match="version 99"):
            open_places(place.home, place.store_url)


@pytest.mark.parametrize("kind", [KINDS[1]])
def test_a_database_of_before_loses_the_index_that_long_names_do_not_fit_in(
    kind: str, make_place: Callable[[str], Place]
) -> None:
    place = make_place(kind)
    with places_of(place.home, place.store_url) as opened:
        opened.warehouse.create(load_vocabulary())
    with psycopg.connect(str(place.store_url)) as database:
        database.execute("CREATE INDEX identity_links_a_b ON journey.identity_links (a, b)")
        database.execute("UPDATE journey.warehouse_version SET definitions = 'of before'")
    with places_of(place.home, place.store_url) as opened:
        assert opened.warehouse.create(load_vocabulary())
    with psycopg.connect(str(place.store_url)) as database:
        found = database.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename = 'identity_links'"
        ).fetchall()
    assert found == [("identity_links_a",)]


def test_a_store_of_version_1_keeps_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    store = EmbeddedStore(path)
    store.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE facts.spend DROP COLUMN mapping_version")
        connection.execute("INSERT INTO facts.spend (event_id, unit, key) VALUES ('e-1', 7, 8)")
        for name in duckdb_fact_tables(connection):
            connection.execute(f"ALTER TABLE facts.{name} DROP COLUMN mapping_version")
        connection.execute("DROP TABLE work.offsets")
        connection.execute("DROP TABLE work.outbox")
        connection.execute("DROP SEQUENCE work.outbox_sequence")
        connection.execute("UPDATE work.state SET value = '1' WHERE name = 'version'")
    store = EmbeddedStore(path)
    assert store.state("version") == str(STORE_VERSION)
    (row,) = store.load_facts(None)["spend"].select("event_id", "unit", "key", "mapping_version").rows()
    assert row == ("e-1", 7, 8, None)
    store.set_offsets({("milepost.spend", 0): 5})
    store.close()


def duckdb_fact_tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute(
        "SELECT table_name FROM duckdb_columns() WHERE schema_name = 'facts' AND column_name = 'mapping_version'"
    )
    return [name for (name,) in found.fetchall()]
