"""The stream's measurements, small: they run to their end, count what they should, and say what they have seen."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from benchmarks import fold_rule, soak
from benchmarks.events import EventFiles, prepare_events
from benchmarks.fold_peers import fold_events
from benchmarks.freshness import measure_freshness
from benchmarks.milepost_fold import checksum, folded
from benchmarks.report import Bar
from benchmarks.stand import StoreKind, kept_or_temporary, running
from benchmarks.stream import fill, measure_raw, measure_touchpoints
from benchmarks.streamed import new_facts, raw_records
from benchmarks.streaming import streaming_bars
from benchmarks.streaming_report import streaming_markdown
from tests.postgresql import needs_postgresql

EVENTS, NEW, BATCH = 2_000, 1_500, 500


def _unique(deliveries: int) -> int:
    """Count the events of so many deliveries, half of them of known customers: one in twenty of each half is twice."""
    known = deliveries // 2
    return sum(half - int(half * 0.05) for half in (known, deliveries - known))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> EventFiles:
    return prepare_events(EVENTS, cache=tmp_path_factory.mktemp("events"))


def test_new_events_are_new_and_of_known_and_new_customers(events: EventFiles) -> None:
    held = pl.read_parquet(events.parquet / "*.parquet")
    turns = [new_facts(events, NEW, turn) for turn in (0, 1)]
    known = set(held.get_column("identifiers").explode())
    seen = set(held.get_column("event_id"))
    for facts in turns:
        assert facts.height == NEW
        assert facts.get_column("event_id").n_unique() == _unique(NEW)
        assert not seen & set(facts.get_column("event_id"))
        seen |= set(facts.get_column("event_id"))
        of_known = facts.get_column("identifiers").list.eval(pl.element().is_in(list(known))).list.any()
        assert 0.4 < of_known.mean() < 0.6  # type: ignore[operator]


def test_raw_records_are_json_objects_with_addresses_in_clear_text(events: EventFiles) -> None:
    facts = new_facts(events, NEW, 0)
    records = pl.Series([record.decode() for record in raw_records(facts)]).str.json_decode(
        pl.Struct({"id": pl.String, "kind": pl.String, "email": pl.String, "cookies": pl.List(pl.String)})
    )
    read = records.struct.unnest()
    assert read.get_column("id").to_list() == facts.get_column("event_id").to_list()
    assert read.get_column("email").drop_nulls().str.ends_with("@example.com").all()
    assert read.get_column("cookies").list.len().max() == 2


def test_the_peers_rule_folds_as_milepost_does() -> None:
    states: dict[str, fold_rule.State] = {}
    rows = []
    for lot in fold_events(4_000):
        for _, message in lot:
            event = pl.Series([message.decode()]).str.json_decode(
                pl.Struct({"customer": pl.String, "at": pl.Int64, "stage": pl.Int64, "conversion": pl.Int64})
            )[0]
            states[event["customer"]] = fold_rule.fold(states.get(event["customer"]), event)
            rows.append(event)
    assert checksum(folded(pl.DataFrame(rows))) == fold_rule.checksum(states)


def test_a_bar_may_be_a_least() -> None:
    assert Bar("rate", 5.0, 4.0, least=True).met
    assert not Bar("rate", 5.0, 6.0, least=True).met
    assert not Bar("seconds", 5.0, 4.0).met
    assert "at least" in Bar("rate", 5.0, 4.0, least=True).line


@pytest.mark.parametrize("kind", ["duckdb", pytest.param("postgresql", marks=needs_postgresql)])
def test_a_stand_measures_rates_and_freshness(events: EventFiles, kind: StoreKind) -> None:
    with kept_or_temporary(None) as folder, running(folder, kind, events, BATCH) as stand:
        filled = fill(stand)
        before = stand.fact_count()
        touchpoints = measure_touchpoints(stand, new_facts(events, NEW, 0))
        raw = measure_raw(stand, new_facts(events, NEW, 1))
        fresh = measure_freshness(stand, new_facts(events, 300, 2), 100)
        after = stand.fact_count()
    assert before == EVENTS - EVENTS // 20
    assert after == before + 2 * _unique(NEW) + _unique(300)
    assert raw.events == NEW
    assert 0 < touchpoints.events <= NEW
    assert {"stitch", "Kafka"} < set(raw.cpu)
    assert ("PostgreSQL" in raw.cpu) == (kind == "postgresql")
    # One that is sent twice may be watched twice, and is seen once.
    assert 25 <= fresh["watched"] <= 30
    assert 0 < fresh["seconds_to_readers"]["p50"] <= fresh["seconds_to_readers"]["max"]
    measured = {
        "machine": {"processors": 2, "load": [0.0]},
        "facts_before": before,
        "batch_facts": BATCH,
        "filled_in_seconds": filled,
        "loads": [touchpoints.row, raw.row],
        "freshness": fresh,
    }
    bars = streaming_bars({kind: measured})
    assert len(bars) == (4 if kind == "postgresql" else 0)
    assert "CPU µs/event" in streaming_markdown({kind: measured}, bars)


def test_a_short_soak_finds_nothing_missing(events: EventFiles, tmp_path: Path) -> None:
    with running(tmp_path / "stand", "duckdb", events, BATCH, term=4.0) as stand:
        fill(stand)
        soaked = soak.soak(stand, new_facts(events, 800, 0), 100, 1.0)
    assert soaked["records"] == 800
    assert soaked["missing"] == 0
    assert "records/s" in soak.table(soaked)
    leaking = {name: {**seen, "growth_mb_an_hour": 50_000} for name, seen in soaked["memory"].items()}
    behind = {"most": 90_000, "growth_an_hour": 90_000}
    wrong = soak.verdict({**soaked, "missing": 3, "memory": leaking, "lag": behind})
    assert len(wrong) == len(leaking) + 2
    calm = {name: {**seen, "growth_mb_an_hour": 10} for name, seen in soaked["memory"].items()}
    assert soak.verdict({**soaked, "memory": calm, "lag": {"most": 9, "growth_an_hour": 0}}) == []
