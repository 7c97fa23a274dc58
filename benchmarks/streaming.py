"""The stream's measurements, section by section: `python -m benchmarks.streaming [--section NAME]…`.

Each section replaces its own part of `results/streaming.json`; `results/streaming.md` shows all of them.
`python -m benchmarks` runs all sections but the soak, which takes half an hour.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import soak
from benchmarks.collector import measure_collector
from benchmarks.events import prepare_events
from benchmarks.fold_peers import compare_folds
from benchmarks.freshness import measure_freshness
from benchmarks.report import Bar
from benchmarks.stand import StoreKind, kept_or_temporary, machine, running
from benchmarks.stream import BATCH, fill, measure_raw, measure_touchpoints
from benchmarks.streamed import new_facts
from benchmarks.streaming_report import streaming_markdown

RESULTS = Path(__file__).parent / "results"
#: Those that `make bench` measures, quick ones first that `--quick` does too.
QUICK_SECTIONS = ("postgresql", "duckdb", "folds")
SECTIONS = (*QUICK_SECTIONS, "collector")


@dataclass(frozen=True)
class Size:
    """How much is measured: facts before, new events of a load, seconds of a steady rate, events of the folding job."""

    events: int = 5_000_000
    new: int = 400_000
    batch: int = BATCH
    rate: int = 1000
    seconds: int = 90
    folds: int = 400_000
    soak_events: int = 200_000
    soak_minutes: float = 30.0


QUICK = Size(20_000, 10_000, 5_000, 200, 10, 20_000, 20_000, 0.5)


def measure_store(folder: Path, kind: StoreKind, size: Size, turn: int = 0) -> dict[str, Any]:
    """Measure rates and freshness on one kind of store; `turn` draws other new events."""
    held = prepare_events(size.events)
    before = machine()
    with running(folder, kind, held, size.batch) as stand:
        filled = fill(stand)
        count = stand.fact_count()
        loads = [
            measure_touchpoints(stand, new_facts(held, size.new, 3 * turn)),
            measure_raw(stand, new_facts(held, size.new, 3 * turn + 1)),
        ]
        fresh = measure_freshness(stand, new_facts(held, size.rate * size.seconds, 3 * turn + 2), size.rate)
    return {
        "machine": before,
        "facts_before": count,
        "batch_facts": size.batch,
        "filled_in_seconds": round(filled, 1),
        "loads": [load.row for load in loads],
        "freshness": fresh,
    }


def measure_section(section: str, size: Size, folder: Path | None, turn: int) -> dict[str, Any]:
    """Measure one section."""
    if section == "folds":
        return compare_folds(size.folds)
    if section == "collector":
        return {"machine": machine(), "rows": [asdict(result) for result in measure_collector()]}
    with kept_or_temporary(folder) as place:
        if section == "soak":
            return soak.run(place, "postgresql", size.soak_events, size.rate, size.soak_minutes, turn)
        kind: StoreKind = "postgresql" if section == "postgresql" else "duckdb"
        return measure_store(place, kind, size, turn)


def streaming_bars(results: dict[str, Any]) -> list[Bar]:
    """Hold what was measured against the bars; those are PostgreSQL's."""
    if "postgresql" not in results:
        return []
    touchpoints, raw = results["postgresql"]["loads"]
    fresh = results["postgresql"]["freshness"]["seconds_to_readers"]
    return [
        Bar(
            "Events/s from `milepost.touchpoints`, PostgreSQL",
            touchpoints["events_per_second"],
            10_000,
            least=True,
        ),
        Bar("Events/s from raw records, PostgreSQL", raw["events_per_second"], 5_000, least=True),
        Bar("Freshness at 1,000 events/s, half, seconds", fresh["p50"], 4.0),
        Bar("Freshness at 1,000 events/s, 99 of 100, seconds", fresh["p99"], 8.0),
    ]


def run_sections(
    sections: Sequence[str],
    size: Size,
    *,
    folder: Path | None = None,
    turn: int = 0,
    results: Path | None = RESULTS,
) -> list[Bar]:
    """Run sections, keep what they give beside what others gave before, print all of it, and give the bars."""
    file = None if results is None else results / "streaming.json"
    kept: dict[str, Any] = (
        json.loads(file.read_text(encoding="utf-8")) if file is not None and file.exists() else {}
    )
    for section in sections:
        kept[section] = measure_section(section, size, folder, turn)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    bars = streaming_bars(kept)
    text = streaming_markdown(kept, bars)
    print(text)
    if results is not None:
        (results / "streaming.md").write_text(text, encoding="utf-8")
    return bars


def _size(arguments: argparse.Namespace) -> Size:
    return Size(
        events=arguments.events,
        new=arguments.new,
        seconds=arguments.seconds,
        soak_minutes=arguments.minutes,
    )


def main() -> None:
    """Run sections from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--section",
        action="append",
        choices=[*SECTIONS, "soak"],
        help="one of them; all but the soak otherwise",
    )
    parser.add_argument("--quick", action="store_true", help="small, and no results are kept")
    parser.add_argument("--folder", type=Path, help="keep the store there, and take it up again")
    parser.add_argument("--turn", type=int, default=0, help="of another number other new events are drawn")
    parser.add_argument("--events", type=int, default=Size.events, help="facts before")
    parser.add_argument("--new", type=int, default=Size.new, help="new events of a load")
    parser.add_argument("--seconds", type=int, default=Size.seconds, help="of the steady rate")
    parser.add_argument("--minutes", type=float, default=Size.soak_minutes, help="of the soak")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else _size(arguments)
    run_sections(
        arguments.section or (QUICK_SECTIONS if arguments.quick else SECTIONS),
        size,
        folder=arguments.folder,
        turn=arguments.turn,
        results=None if arguments.quick else RESULTS,
    )


if __name__ == "__main__":
    main()
