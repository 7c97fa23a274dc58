"""How long an event takes from its way to Kafka to the tables, at a steady rate and the default pace.

`python -m benchmarks.freshness --events 5000000 --store postgresql --seconds 60`. One record of each tenth of a second
is watched by a reader of its own. Readers of a DuckDB store see a snapshot that follows the publications; how fresh the
publications are, the stitch says of every fact (`milepost_freshness_seconds`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.events import prepare_events
from benchmarks.processes import cpu_of
from benchmarks.stand import Stand, StoreKind, kept_or_temporary, machine, print_json, running
from benchmarks.steady import Reader, Sender, percentiles, working
from benchmarks.stream import BATCH, fill
from benchmarks.streamed import new_facts


def measure_freshness(stand: Stand, facts: Any, rate: int) -> dict[str, Any]:
    """Send the facts at a rate, and measure until the last one watched is seen.

    Raises:
        RuntimeError: not all that was watched came to the tables in time.
    """
    with working(stand):
        sender = Sender(stand, facts, rate)
        reader = Reader(stand, sender)
        before = cpu_of(stand.parts)
        sender.start()
        reader.look_until_done()
        sender.stop()
        after = cpu_of(stand.parts)
        told = stand.told("stitch")
    if reader.missing:
        raise RuntimeError(f"{reader.missing} records watched are not in the tables")
    seconds = facts.height / rate
    return {
        "rate": rate,
        "watched": len(reader.seconds),
        "seconds_to_readers": percentiles(reader.seconds),
        "published_within": _bounds(told["milepost_freshness_seconds_bucket"]),
        "cpu_share_of_a_processor": {
            name: round((after[name] - before[name]) / seconds, 3) for name in sorted(after)
        },
    }


def _bounds(buckets: dict[tuple[str, ...], float]) -> dict[str, float]:
    """Give the bounds of buckets within which half and 99 of 100 facts were published."""
    ordered = sorted((float(bound), count) for (bound,), count in buckets.items())
    every = ordered[-1][1]
    return {
        name: next(bound for bound, count in ordered if count >= share * every)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def run(
    folder: Path, kind: StoreKind, events: int, rate: int, seconds: int, turn: int, *, batch: int = BATCH
) -> dict[str, Any]:
    """Measure on a store with so many facts before."""
    held = prepare_events(events)
    with running(folder, kind, held, batch) as stand:
        fill(stand)
        measured = measure_freshness(stand, new_facts(held, rate * seconds, turn), rate)
    return {"machine": machine(), "store": kind, "facts_before": events, **measured}


def main() -> None:
    """Run the benchmark and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=90)
    parser.add_argument("--store", choices=("postgresql", "duckdb"), default="postgresql")
    parser.add_argument("--folder", type=Path, help="keep the store there, and take it up again")
    parser.add_argument("--turn", type=int, default=100, help="of another number other new events are drawn")
    arguments = parser.parse_args()
    with kept_or_temporary(arguments.folder) as folder:
        print_json(
            run(folder, arguments.store, arguments.events, arguments.rate, arguments.seconds, arguments.turn)
        )


if __name__ == "__main__":
    main()
