"""The generated events keep what the comparison assumes, and their Avro files say what their frames say."""

from __future__ import annotations

from pathlib import Path

import fastavro
import polars as pl
import pytest

from benchmarks.events import EventFiles, prepare_events
from connectors.bus import Bus, read_bus_file
from schemas.contracts import empty_facts, frame_schema
from schemas.vocabulary import load_vocabulary


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> EventFiles:
    return prepare_events(2_000, seed=3, cache=tmp_path_factory.mktemp("events"))


@pytest.fixture(scope="module")
def facts(events: EventFiles) -> pl.DataFrame:
    return pl.read_parquet(events.parquet / "*.parquet")


def test_the_frame_has_the_columns_of_the_contract(facts: pl.DataFrame) -> None:
    assert facts.schema == frame_schema("touchpoint")
    assert facts.height == 2_000


def test_the_avro_files_hold_the_same_rows(events: EventFiles, facts: pl.DataFrame) -> None:
    rows = []
    for path in sorted(events.bus.glob("*.avro")):
        with path.open("rb") as file:
            rows.extend(fastavro.reader(file))
    assert rows == facts.to_dicts()
    assert pl.concat(read_bus_file(path) for path in sorted(events.bus.glob("*.avro"))).equals(facts)


def test_the_avro_files_carry_the_schema_of_the_bus(events: EventFiles, tmp_path: Path) -> None:
    """Of another schema, reading would take the slow way."""
    name = Bus(tmp_path).write("touchpoint", "one", empty_facts("touchpoint"))
    paths = (tmp_path / "bus" / "touchpoint" / name, next(events.bus.glob("*.avro")))
    schemas = []
    for path in paths:
        with path.open("rb") as file:
            schemas.append(fastavro.reader(file).metadata["avro.schema"])
    assert schemas[0] == schemas[1]


def test_the_same_seed_gives_the_same_events(events: EventFiles, facts: pl.DataFrame, tmp_path: Path) -> None:
    again = prepare_events(2_000, seed=3, cache=tmp_path)
    assert pl.read_parquet(again.parquet / "*.parquet").equals(facts)
    other = prepare_events(2_000, seed=4, cache=tmp_path)
    assert not pl.read_parquet(other.parquet / "*.parquet").equals(facts)


def test_one_event_in_twenty_is_delivered_again_later(facts: pl.DataFrame) -> None:
    said = [name for name in facts.columns if name != "received_at"]
    per_event = facts.group_by("event_id").agg(
        pl.len(),
        pl.struct(said).n_unique().alias("versions"),
        pl.col("received_at").n_unique().alias("times"),
    )
    assert per_event.height == 1_900
    assert per_event["versions"].max() == 1
    assert per_event.select((pl.col("times") == pl.col("len")).all()).item()


def test_identifiers_make_no_conflict_and_none_is_shared(facts: pl.DataFrame) -> None:
    lengths = facts["identifiers"].list.len()
    assert lengths.min() == 1
    assert lengths.max() == 3
    customer: dict[str, str] = {}

    def root(name: str) -> str:
        while customer.setdefault(name, name) != name:
            name = customer[name]
        return name

    for names in facts["identifiers"].to_list():
        for name in names:
            customer[root(name)] = root(names[0])
    members: dict[str, set[str]] = {}
    for name in customer:
        members.setdefault(root(name), set()).add(name)
    assert len(members) == 238
    unique = [f"{name}:" for name, entry in load_vocabulary().namespaces.items() if entry.unique]
    for names in members.values():
        for prefix in unique:
            assert sum(name.startswith(prefix) for name in names) <= 1
