"""The bus and its registry: whole files or none, equal bytes from equal facts, and what stands."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.avro_rows import encode_rows
from connectors.bus import Bus, encode_facts, read_bus_file, writer_schema
from connectors.dead_letters import LARGEST_PAYLOAD, Place, Reject, dead_letters
from connectors.registry import Ingested, Registry, Seen, append_entries, load_registry
from schemas.contracts import FACT_TYPES, avro_schema, empty_facts, frame_schema

MOMENT = datetime(2024, 6, 1, 12, 30, 0, 123456, tzinfo=UTC)
TOUCH: dict[str, Any] = {
    "event_id": "e1",
    "revision": 3,
    "source": "shop",
    "kind": "order",
    "channel": "storefront",
    "team": "marketing",
    "reach": "one_to_many",
    "occurred_at": MOMENT,
    "identifiers": ["cookie:c1", "user:ü"],
    "booking_number": 0,
    "amount_micros": -(2**62),
    "currency": "EUR",
    "products": [],
    "received_at": MOMENT,
    "raw_ids": ["r:1"],
    "mapping_version": "v",
}

TEXT = st.text(max_size=20).filter(lambda text: text.isprintable())


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "event_id": TEXT,
                "revision": st.integers(-(2**63), 2**63 - 1),
                "identifiers": st.lists(TEXT, max_size=3),
                "amount_micros": st.none() | st.integers(-(2**63), 2**63 - 1),
                "content": st.none() | TEXT,
                "kind": st.sampled_from(["order", "site_visit", "identify"]),
                "score_percent": st.none() | st.integers(-(2**31), 2**31 - 1),
            }
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read_by_any_avro_reader(
    tmp_path_factory: Any, rows: list[dict[str, Any]]
) -> None:
    facts = pl.DataFrame([{**TOUCH, **row} for row in rows], schema=frame_schema("touchpoint"))
    bus = Bus(tmp_path_factory.mktemp("bus"))
    name = bus.write("touchpoint", "x", facts)
    file = bus.folder / "touchpoint" / name
    assert read_bus_file(file).equals(facts)
    with file.open("rb") as opened:
        plain = list(fastavro.reader(opened, reader_schema=fastavro.parse_schema(avro_schema("touchpoint"))))
    assert pl.DataFrame(plain, schema=frame_schema("touchpoint"), orient="row").equals(facts)


def test_our_bytes_are_those_of_the_reference_writer() -> None:
    facts = pl.DataFrame([TOUCH, {**TOUCH, "content": "x" * 70_000}] * 3, schema=frame_schema("touchpoint"))
    schema = fastavro.parse_schema(writer_schema("touchpoint"))
    reference = io.BytesIO()
    for row in facts.iter_rows(named=True):
        fastavro.schemaless_writer(reference, schema, row)
    plain = facts.with_columns(pl.col(pl.Datetime("us", "UTC")).cast(pl.Int64))
    assert encode_rows(plain, writer_schema("touchpoint")["fields"]) == reference.getvalue()
    content = encode_facts("touchpoint", facts, "x")
    assert content == encode_facts("touchpoint", facts, "x")
    assert list(fastavro.reader(io.BytesIO(content))) == [
        {**dict.fromkeys(frame_schema("touchpoint")), **row} for row in facts.to_dicts()
    ]


def test_every_type_is_written_and_read_even_without_facts(tmp_path: Path) -> None:
    bus = Bus(tmp_path)
    for fact in (*FACT_TYPES, "dead_letter"):
        name = bus.write(fact, "none", empty_facts(fact))
        assert read_bus_file(bus.folder / fact / name).schema == frame_schema(fact)


def test_a_file_of_another_schema_is_read_by_schema_resolution(tmp_path: Path) -> None:
    schema = writer_schema("touchpoint")
    older = {**schema, "fields": [field for field in schema["fields"] if field["name"] != "properties"]}
    folder = tmp_path / "touchpoint"
    folder.mkdir()
    row = {**TOUCH, **{field["name"]: None for field in older["fields"] if field["name"] not in TOUCH}}
    with (folder / "old.avro").open("wb") as opened:
        fastavro.writer(opened, fastavro.parse_schema(older), [row])
    read = read_bus_file(folder / "old.avro")
    assert read.equals(pl.DataFrame([TOUCH], schema=frame_schema("touchpoint")))


def test_the_last_mapping_of_a_content_stands(tmp_path: Path) -> None:
    entries = [
        Seen("s", "c1", "a.csv", 5),
        Ingested("s", "c1", "v1", "a.csv", files={"touchpoint": ["one"]}),
        Seen("s", "c1", "a.csv", 9),
        Ingested("s", "c2", "v1", "b.csv", files={"touchpoint": ["two"]}),
        Ingested("s", "c1", "v2", "a.csv", files={"touchpoint": ["three"]}),
        Ingested("s", "c3", "v2", "c.csv", status="partial", error="truncated"),
    ]
    append_entries(tmp_path, entries)
    registry = load_registry(tmp_path)
    assert registry.current_names("touchpoint") == ["three", "two"]
    assert registry.superseded_names("touchpoint") == ["one"]
    assert registry.received_at("c1") == 5, "the time of arrival never changes"
    assert registry.knows("s", "c1", "v2")
    assert not registry.knows("s", "c1", "v1"), "going back to an old mapping maps again"
    assert not registry.knows("s", "c3", "v2"), "a broken file is tried again"


def test_a_registry_cut_short_at_any_byte_is_usable(tmp_path: Path) -> None:
    append_entries(tmp_path, [Seen("s", f"c{n}", "ä.csv", n) for n in range(3)])
    file = tmp_path / "registry.jsonl"
    whole = file.read_bytes()
    for cut in range(len(whole)):
        file.write_bytes(whole[:cut])
        before = load_registry(tmp_path).entries
        assert len(before) <= 3
        append_entries(tmp_path, [Seen("s", "new", "n.csv", 7)])
        assert load_registry(tmp_path).entries[-1] == Seen("s", "new", "n.csv", 7)
        assert load_registry(tmp_path).entries[: len(before)] == before


def test_no_registry_is_an_empty_one(tmp_path: Path) -> None:
    assert load_registry(tmp_path) == Registry(())


def test_facts_without_a_file_are_put_once(tmp_path: Path) -> None:
    bus = Bus(tmp_path)
    facts = pl.DataFrame([TOUCH], schema=frame_schema("touchpoint"))
    first, second = bus.put("cli", "touchpoint", facts, 5), bus.put("cli", "touchpoint", facts, 6)
    assert first == second
    assert bus.current_files("touchpoint") == [first]


def test_large_payloads_go_to_the_raw_zone(tmp_path: Path) -> None:
    place = Place("s", "read", "a.csv", 5)
    small, large = b"x", b"y" * (LARGEST_PAYLOAD + 1)
    letters = dead_letters(
        [Reject("c", "why", small, 3), Reject("c", "why", large, 4)], place, tmp_path / "raw"
    )
    assert letters.schema == frame_schema("dead_letter")
    assert letters["payload"].to_list() == [small, None]
    assert letters["payload_ref"][0] == "a.csv:3"
    assert letters["reason"].to_list() == ["a.csv, row 3: why", "a.csv, row 4: why"]
    (kept,) = (tmp_path / "raw").iterdir()
    assert kept.name == letters["payload_sha256"][1]
    assert kept.read_bytes() == large
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
