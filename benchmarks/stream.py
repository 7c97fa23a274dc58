"""How many events a second a stream takes with millions of facts before it, and which part uses the processors.

`python -m benchmarks.stream --events 5000000 --new 400000 --store postgresql` measures twice on one store: from
`milepost.touchpoints` to the publication (the stitch alone), and from raw records (ingest and stitch together). The
load is on Kafka before the parts start to read; identity, audits and announcements are on. Of the stitch alone, what is
measured lies between the first publication and the last one; with ingest, it begins when ingest begins to read.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.events import prepare_events
from benchmarks.processes import cpu_of
from benchmarks.stand import Stand, StoreKind, kept_or_temporary, machine, print_json, running
from benchmarks.streamed import new_facts, send_facts, send_records
from pipelines.stream import STITCH_GROUP

#: Facts of a publication under load; see README.md for how it was found.
BATCH = 20_000
_LOOK_SECONDS = 0.1
_PATIENCE = 3600.0


@dataclass(frozen=True)
class Load:
    """A load that was worked off: events between the first and the last publication, seconds, CPU seconds by part."""

    name: str
    events: int
    seconds: float
    cpu: dict[str, float]
    steps: dict[str, float] = field(default_factory=dict)

    @property
    def events_per_second(self) -> float:
        """The rate."""
        return self.events / self.seconds

    @property
    def row(self) -> dict[str, Any]:
        """What the results keep of it."""
        return {
            "load": self.name,
            "events": self.events,
            "seconds": round(self.seconds, 2),
            "events_per_second": round(self.events_per_second),
            "cpu_microseconds_per_event": {
                name: round(used / self.events * 1e6, 1) for name, used in self.cpu.items()
            },
            "stitch_seconds": {name: round(seconds, 2) for name, seconds in self.steps.items()},
        }


def _stitched(told: dict[str, dict[tuple[str, ...], float]]) -> int:
    return round(sum(told.get("milepost_facts_total", {}).values()))


def _steps(told: dict[str, dict[tuple[str, ...], float]]) -> dict[str, float]:
    """Give seconds by step of the stitch, by the clock and of CPU."""
    return {
        f"{step}, {clock}": value for (clock, step), value in told["milepost_stitch_seconds_total"].items()
    }


def watch(stand: Stand, name: str, count: int, *, from_now: bool = False) -> Load:
    """Wait until the stitch has published so many facts; measure from the first publication, or from now."""
    until = time.monotonic() + _PATIENCE
    first: tuple[int, float, dict[str, float], dict[str, float]] | None = None
    while True:
        told = stand.told("stitch")
        done = _stitched(told)
        if first is None and (done or from_now):
            first = done, time.monotonic(), cpu_of(stand.parts), _steps(told)
        if first is not None and done >= count:
            ended, used, steps = time.monotonic(), cpu_of(stand.parts), _steps(told)
            return Load(
                name,
                done - first[0],
                ended - first[1],
                {part: used[part] - first[2].get(part, 0.0) for part in used},
                {step: seconds - first[3].get(step, 0.0) for step, seconds in steps.items()},
            )
        stand.check_parts()
        if time.monotonic() > until:
            raise RuntimeError(f"{done:,} of {count:,} facts are published")
        time.sleep(_LOOK_SECONDS)


def measure_touchpoints(stand: Stand, facts: Any) -> Load:
    """Measure the stitch of touchpoints that wait on Kafka."""
    send_facts(stand.kafka, facts, stand.mapping_version)
    _settle(stand)
    stand.start_part("stitch")
    load = watch(stand, "touchpoints", facts.height)
    stand.stop_part("stitch")
    return load


def measure_raw(stand: Stand, facts: Any) -> Load:
    """Measure ingest and stitch of raw records that wait on Kafka."""
    send_records(stand.kafka, facts)
    _settle(stand)
    stand.start_part("stitch")
    stand.start_part("ingest")
    load = watch(stand, "raw records", facts.height, from_now=True)
    stand.stop_part("ingest")
    stand.stop_part("stitch")
    return load


def _settle(stand: Stand) -> None:
    if stand.database is not None:
        stand.database.checkpoint()


def fill(stand: Stand) -> float:
    """Let the stitch fold what is on the bus into a new store, and give the seconds that this took.

    What a run that was broken off has left on Kafka is worked off first: nothing may wait before a load does.
    """
    began = time.monotonic()
    stand.start_part("stitch")
    took = time.monotonic() - began
    while stand.lag(STITCH_GROUP):
        stand.check_parts()
        time.sleep(1.0)
    stand.stop_part("stitch")
    return took


def run(folder: Path, kind: StoreKind, events: int, new: int, batch: int, turn: int) -> dict[str, Any]:
    """Measure both loads on one store."""
    held = prepare_events(events)
    with running(folder, kind, held, batch) as stand:
        filled = fill(stand)
        loads = [
            measure_touchpoints(stand, new_facts(held, new, 2 * turn)),
            measure_raw(stand, new_facts(held, new, 2 * turn + 1)),
        ]
    return {
        "machine": machine(),
        "store": kind,
        "facts_before": events,
        "batch_facts": batch,
        "filled_in_seconds": round(filled, 1),
        "loads": [load.row for load in loads],
    }


def main() -> None:
    """Run the benchmark and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--new", type=int, default=400_000)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--store", choices=("postgresql", "duckdb"), default="postgresql")
    parser.add_argument("--folder", type=Path, help="keep the store there, and take it up again")
    parser.add_argument("--turn", type=int, default=0, help="of another number other new events are drawn")
    arguments = parser.parse_args()
    with kept_or_temporary(arguments.folder) as folder:
        print_json(
            run(folder, arguments.store, arguments.events, arguments.new, arguments.batch, arguments.turn)
        )


if __name__ == "__main__":
    main()
