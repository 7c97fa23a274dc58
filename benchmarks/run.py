"""`make bench`: the same job by Milepost, by a DuckDB script and by plain per-event Beam, in one run; then the stream.

Each contestant runs in a process of its own; figures are CPU seconds (user and system, children too) and peak
memory. The run fails where two contestants' tables differ or a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare import differing_tables
from benchmarks.events import DEFAULT_SEED, EventFiles, prepare_events, write_batches
from benchmarks.meter import Measured, measure
from benchmarks.milepost_contestant import PUBLISHING
from benchmarks.report import Bar, markdown
from benchmarks.streaming import QUICK, QUICK_SECTIONS, SECTIONS, Size, run_sections
from warehouse.definitions import WORKING_COPY

RESULTS = Path(__file__).parent / "results"
GIGABYTE = 10**9
BATCHES = 5
#: At or below this many events the small bar of memory holds, above it the large one.
SMALL_EVENTS = 5_000_000


@dataclass(frozen=True)
class Contest:
    """One contestant's run: what it used and the digests of its tables."""

    name: str
    events: int
    measured: Measured
    digests: dict[str, str]

    @property
    def row(self) -> dict[str, Any]:
        """What the results keep of it."""
        return {
            "events": self.events,
            "cpu_seconds": round(self.measured.cpu_seconds, 2),
            "wall_seconds": round(self.measured.wall_seconds, 2),
            "events_per_cpu_second": round(self.events / self.measured.cpu_seconds),
            "peak_bytes": self.measured.peak_bytes,
            "phases": self.measured.output.get("phases", {}),
        }


def _digests(path: Path) -> dict[str, str]:
    # In a process of its own: a child's peak memory counts from its parent's, so this one stays small.
    return measure("benchmarks.compare", str(path)).output


def run_duckdb(events: EventFiles, folder: Path) -> Contest:
    """Run the DuckDB script."""
    database = folder / f"duckdb-{events.events}.duckdb"
    measured = measure("benchmarks.duckdb_peer", str(events.parquet), str(database))
    contest = Contest("DuckDB script", events.events, measured, _digests(database))
    database.unlink()
    return contest


def run_beam(events: EventFiles, folder: Path) -> Contest:
    """Run plain per-event Beam."""
    output = folder / f"beam-{events.events}"
    measured = measure("benchmarks.beam_peer", str(events.bus), str(output))
    return Contest("Plain Beam", events.events, measured, _digests(output))


def run_milepost(events: EventFiles, home: Path) -> Contest:
    """Run Milepost's full rebuild through Beam into a fresh home."""
    files = [str(path) for path in sorted(events.bus.glob("*.avro"))]
    measured = measure("benchmarks.milepost_contestant", str(home), *files)
    return Contest("Milepost", events.events, measured, _digests(home / WORKING_COPY))


def staged_row(milepost: Contest) -> dict[str, Any]:
    """What Milepost had used when its tables were staged as Parquet: all of the job, and nothing that peers lack."""
    published = sum(milepost.row["phases"][step] for step in (*PUBLISHING, "done"))
    used = milepost.measured.cpu_seconds - published
    return {
        "events": milepost.events,
        "cpu_seconds": round(used, 2),
        "events_per_cpu_second": round(milepost.events / used),
        "peak_bytes": milepost.measured.peak_bytes,
    }


def run_increments(events: EventFiles, home: Path, folder: Path, size: int) -> dict[str, Any]:
    """Stitch batches of new events into a built home: the first in a cold process, the others warm."""
    batches = write_batches(events, DEFAULT_SEED, folder / "batches", BATCHES, size)
    files = [str(path) for path in sorted(events.bus.glob("*.avro"))]
    flags = [argument for path in batches for argument in ("--batch", str(path))]
    measured = measure("benchmarks.milepost_contestant", str(home), "--built", *files, *flags)
    used = [batch["decoded_to_commit"] for batch in measured.output["batches"]]
    whole = [batch["cpu_seconds"] for batch in measured.output["batches"]]
    return {
        "batch_events": size,
        "into_events": events.events,
        "cold_cpu_seconds": used[0],
        "warm_cpu_seconds": round(statistics.median(used[1:]), 3),
        "warm_whole_cpu_seconds": round(statistics.median(whole[1:]), 3),
        "process_cpu_seconds": round(measured.cpu_seconds, 2),
        "peak_bytes": measured.peak_bytes,
        "batches": measured.output["batches"],
    }


def judge(milepost: Contest, duckdb: Contest, beam: Contest, increments: dict[str, Any]) -> list[Bar]:
    """Hold the figures against the bars."""
    small = milepost.events <= SMALL_EVENTS
    memory = 3 if small else 4
    per_event = milepost.measured.cpu_seconds / milepost.events
    per_beam_event = beam.measured.cpu_seconds / beam.events
    return [
        Bar(
            "CPU of Milepost's rebuild / DuckDB's",
            milepost.measured.cpu_seconds / duckdb.measured.cpu_seconds,
            0.8,
        ),
        Bar("CPU per event of Milepost / plain Beam's", per_event / per_beam_event, 1 / 15),
        Bar("Peak memory of Milepost's rebuild, GB", milepost.measured.peak_bytes / GIGABYTE, memory),
        Bar(
            f"CPU seconds of a batch of {increments['batch_events']:,}, warm",
            increments["warm_cpu_seconds"],
            1.0,
        ),
    ]


def compete(
    events: int, beam_events: int, batch: int, folder: Path
) -> tuple[dict[str, Any], list[Bar], bool]:
    """Run all contestants; gives the results, the bars, and whether all tables are equal."""
    large, small = prepare_events(events), prepare_events(beam_events)
    beam = run_beam(small, folder)
    duckdb_small = run_duckdb(small, folder)
    duckdb = run_duckdb(large, folder)
    milepost = run_milepost(large, folder / "home")
    differences = {
        "Plain Beam and DuckDB": differing_tables(beam.digests, duckdb_small.digests),
        "Milepost and DuckDB": differing_tables(milepost.digests, duckdb.digests),
    }
    increments = run_increments(large, folder / "home", folder, batch)
    bars = judge(milepost, duckdb, beam, increments)
    results = {
        "machine": {"processors": os.cpu_count(), "python": platform.python_version()},
        "contestants": {
            milepost.name: milepost.row,
            "Milepost until its tables are staged": staged_row(milepost),
            duckdb.name: duckdb.row,
            beam.name: beam.row,
        },
        "increments": increments,
        "digests": duckdb.digests,
        "differing_tables": differences,
        "bars": [bar.row for bar in bars],
    }
    return results, bars, not any(differences.values())


def main() -> None:
    """Run the benchmark, print its table, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=SMALL_EVENTS)
    parser.add_argument("--beam-events", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=10_000, help="events in a batch of the incremental run")
    parser.add_argument("--quick", action="store_true", help="200,000 events, 20,000 for plain Beam; no bars")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.events, arguments.beam_events, arguments.batch = 200_000, 20_000, 1_000
    folder = Path(tempfile.mkdtemp(prefix="milepost-bench-run-"))
    try:
        results, bars, equal = compete(arguments.events, arguments.beam_events, arguments.batch, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = markdown(results, bars)
    print(table)
    if not arguments.quick:
        arguments.results.mkdir(parents=True, exist_ok=True)
        (arguments.results / "latest.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (arguments.results / "latest.md").write_text(table, encoding="utf-8")
    if not equal:
        sys.exit(f"Tables differ: {results['differing_tables']}")
    if arguments.quick:
        run_sections(QUICK_SECTIONS, QUICK, results=None)
    else:
        bars += run_sections(SECTIONS, Size(events=arguments.events), results=arguments.results)
    if not arguments.quick and not all(bar.met for bar in bars):
        sys.exit("A bar is missed.")


if __name__ == "__main__":
    main()
