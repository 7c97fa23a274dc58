"""What a micro-batch costs a process that keeps running: CPU seconds by phase, from decoded batch to commit.

`python -m benchmarks.increment --events 1000000 --batch 10000` builds a store of that many events (or takes the one
of `--home`, which it copies), stitches batches of new events into it, with and without the cache of units, and prints
the median of each phase, the first batch aside.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import polars as pl

from benchmarks.compare import MODELS
from benchmarks.events import DEFAULT_SEED, prepare_events, write_batches
from benchmarks.meter import Meter, measure
from connectors.bus import read_bus_file
from milepost.rules import Rules
from milepost.units import Nodes, find_nodes
from pipelines.progress import listening
from pipelines.staging import Staging
from pipelines.stitch import publish_increment
from pipelines.stitch_publish import Change
from pipelines.stitch_rebuild import StitchSettings, staged_schema
from pipelines.unit_cache import UnitCache, with_cache
from schemas.contracts import FACT_TYPES
from schemas.vocabulary import Vocabulary, load_vocabulary
from warehouse.definitions import WORKING_COPY
from warehouse.embedded.places import STORE_FILE
from warehouse.places import Places, open_places
from warehouse.store import Store

#: What is done, in its order: `read` is of the store, `fold` of both states, `compare` stages what differs.
PHASES = ("other", "read", "fold", "compare", "warehouse", "audit", "store", "commit", "done")


class MeteredStore:
    """A store whose answers about units are metered; whatever else it can do, it does unmetered."""

    def __init__(self, store: Store, meter: Meter) -> None:
        self._store, self._meter = store, meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def units_of(self, nodes: Any) -> pl.DataFrame:
        """Look nodes up."""
        self._meter.lap("other")
        found = self._store.units_of(nodes)
        self._meter.lap("read")
        return found

    def load_facts(self, units: Any) -> dict[str, pl.DataFrame]:
        """Load the facts of units."""
        self._meter.lap("other")
        found = self._store.load_facts(units)
        self._meter.lap("read")
        return found


def decode(path: Path, vocabulary: Vocabulary) -> tuple[dict[str, pl.DataFrame], list[Nodes]]:
    """Decode a batch of touchpoints as a running process does: facts by type, and what they name."""
    facts = {name: pl.DataFrame(schema=staged_schema(name, vocabulary)) for name in FACT_TYPES}
    said = read_bus_file(path)
    nodes = find_nodes(said, "touchpoint", vocabulary)
    schema = facts["touchpoint"].schema
    marked = said.with_columns(
        pl.lit(0, pl.UInt64).alias("unit"),
        pl.Series("key", nodes.keys),
        pl.lit(None).alias("mapping_version"),
    )
    facts["touchpoint"] = marked.select(list(schema)).cast(schema)
    return facts, [nodes]


def stitch_batch(
    places: Places, store: Store, path: Path, vocabulary: Vocabulary, folder: Path
) -> dict[str, float]:
    """Stitch a batch and give CPU seconds by phase."""
    facts, nodes = decode(path, vocabulary)
    settings = StitchSettings(Staging(str(folder)), vocabulary, Rules(models=MODELS), path.stem)
    meter, steps = Meter(), ["compare"]
    places.store = cast("Store", MeteredStore(store, meter))

    def step(name: str) -> None:
        meter.lap(steps[-1])
        steps.append(name)

    change = Change(datetime(2026, 1, 1, tzinfo=UTC), settings.rules.hash, files=(path.name,))
    with listening(path.stem, lambda *_: meter.lap("fold")):
        publish_increment(places, settings, facts, nodes, change, step=step)
    meter.lap("done")
    return meter.laps


def run(home: Path, batches: Sequence[Path], *, cached: bool) -> dict[str, Any]:
    """Stitch batches into a copy of a built home; give the median of each phase, the first batch aside."""
    vocabulary = load_vocabulary()
    with tempfile.TemporaryDirectory(prefix="milepost-bench-increment-") as folder:
        for name in (STORE_FILE, WORKING_COPY):
            shutil.copy(home / name, folder)
        places = open_places(Path(folder))
        try:
            places.warehouse.create(vocabulary)
            warm = Meter()
            store = with_cache(places.store) if cached else places.store
            if isinstance(store, UnitCache):
                store.load_facts(store.units_of(None).get_column("unit").head(1).to_numpy())
            warm.lap("warm")
            laps = [
                stitch_batch(places, store, path, vocabulary, Path(folder) / "staging") for path in batches
            ]
            held = store if isinstance(store, UnitCache) else None
            return {
                "phases": {
                    phase: round(statistics.median(lap.get(phase, 0.0) for lap in laps[1:]), 3)
                    for phase in PHASES
                },
                "cpu_seconds": round(statistics.median(sum(lap.values()) for lap in laps[1:]), 3),
                "warm_start_cpu_seconds": warm.laps["warm"],
                "bytes_per_cached_fact": round(held.bytes / held.facts) if held is not None else None,
            }
        finally:
            places.close()


def main() -> None:
    """Run the benchmark and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--home", type=Path, help="a home that `benchmarks.milepost_contestant` built")
    parser.add_argument("--cached", action="store_true", help="only with the cache")
    arguments = parser.parse_args()
    events = prepare_events(arguments.events)
    with tempfile.TemporaryDirectory(prefix="milepost-bench-increment-") as folder:
        home = arguments.home or Path(folder) / "home"
        if arguments.home is None:
            files = [str(path) for path in sorted(events.bus.glob("*.avro"))]
            measure("benchmarks.milepost_contestant", str(home), *files)
        batches = write_batches(events, DEFAULT_SEED, Path(folder), arguments.batches, arguments.batch)
        ways = {"with cache": True} if arguments.cached else {"with cache": True, "without": False}
        print(json.dumps({way: run(home, batches, cached=cached) for way, cached in ways.items()}, indent=2))


if __name__ == "__main__":
    main()
