"""A long steady load: does memory grow, does the lag, is everything still fresh?

`python -m benchmarks.soak --minutes 30 --store postgresql` sends raw records at a steady rate straight to Kafka,
through ingest and stitch, samples each part's memory, the lag and the freshness, prints a table, and judges.
Pipelines change over to their next term every few minutes, so that this is soaked too.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.events import prepare_events
from benchmarks.processes import memory_bytes
from benchmarks.stand import Stand, StoreKind, kept_or_temporary, machine, print_json, running
from benchmarks.steady import Reader, Sender, percentiles, working
from benchmarks.stream import BATCH, fill
from benchmarks.streamed import new_facts
from pipelines.stream import INGEST_GROUP, STITCH_GROUP

#: Terms of a pipeline are short, so that a soak has many (seconds).
TERM = 300.0
#: What is sent: the events of the store's customers, and of new ones.
RATE = 1000
#: The first part of a soak is left out of slopes: caches fill, compiled code comes.
WARM_UP = 0.25
#: A part may grow by so much an hour beyond the facts that it is to hold (bytes), and the lag by so many messages.
MOST_GROWTH = 100e6
MOST_LAG_GROWTH = 5_000.0
#: What the stitch holds of a fact on purpose: its cache, see `pipelines.unit_cache` (bytes, with its nodes).
BYTES_PER_FACT = 300.0
_MEGABYTE = 1e6


@dataclass
class Samples:
    """What was seen over time."""

    seconds: list[float] = field(default_factory=list)
    memory: dict[str, list[int]] = field(default_factory=dict)
    lag: list[int] = field(default_factory=list)

    def take(self, stand: Stand, began: float) -> None:
        """Look at every part."""
        self.seconds.append(time.monotonic() - began)
        for name, pid in stand.parts.items():
            self.memory.setdefault(name, []).append(memory_bytes(pid))
        self.lag.append(stand.lag(INGEST_GROUP, STITCH_GROUP))

    def growth(self, values: list[int]) -> float:
        """Give the slope of a series an hour, the first part aside."""
        first = int(len(values) * WARM_UP)
        if len(values) - first < 3:
            return 0.0
        slope, _ = np.polyfit(self.seconds[first:], values[first:], 1)
        return float(slope) * 3600


def soak(stand: Stand, facts: Any, rate: int, every: float) -> dict[str, Any]:
    """Send the facts at a rate, and give what was seen."""
    samples = Samples()
    with working(stand):
        sender = Sender(stand, facts, rate)
        reader = Reader(stand, sender)
        began = time.monotonic()
        sender.start()
        due = began
        while sender.is_sending:
            reader.look()
            stand.check_parts()
            if time.monotonic() >= due:
                samples.take(stand, began)
                due += every
            time.sleep(0.05)
        reader.look_until_done()
        sender.stop()
    memory = {
        name: {
            "start_mb": round(values[0] / _MEGABYTE),
            "end_mb": round(values[-1] / _MEGABYTE),
            "growth_mb_an_hour": round(samples.growth(values) / _MEGABYTE),
        }
        for name, values in samples.memory.items()
    }
    return {
        "minutes": round(samples.seconds[-1] / 60, 1),
        "rate": rate,
        "records": sender.records,
        "missing": reader.missing,
        "memory": memory,
        "lag": {"most": max(samples.lag), "growth_an_hour": round(samples.growth(samples.lag))},
        "seconds_to_readers": percentiles(reader.seconds),
    }


def verdict(soaked: dict[str, Any]) -> list[str]:
    """Say what is wrong; nothing, where all is well.

    The stitch holds facts in memory on purpose, up to its bound: what it grows by for the facts that came is allowed.
    """
    wrong = []
    held = soaked["rate"] * 3600 * BYTES_PER_FACT
    for name, seen in soaked["memory"].items():
        allowed = MOST_GROWTH + (held if name == "stitch" else 0.0)
        if seen["growth_mb_an_hour"] * _MEGABYTE > allowed:
            wrong.append(f"{name} grows by {seen['growth_mb_an_hour']:,} MB an hour")
    if soaked["lag"]["growth_an_hour"] > MOST_LAG_GROWTH:
        wrong.append(f"the lag grows by {soaked['lag']['growth_an_hour']:,} messages an hour")
    if soaked["missing"]:
        wrong.append(f"{soaked['missing']:,} records watched are not in the tables")
    return wrong


def table(soaked: dict[str, Any]) -> str:
    """Write what was seen as Markdown."""
    fresh, lag = soaked["seconds_to_readers"], soaked["lag"]
    rows = [
        f"| {name} | {seen['start_mb']:,} | {seen['end_mb']:,} | {seen['growth_mb_an_hour']:,} |"
        for name, seen in soaked["memory"].items()
    ]
    return "\n".join(
        [
            f"{soaked['minutes']} minutes at {soaked['rate']:,} records/s: {soaked['records']:,} records.",
            "",
            "| part | MB at first | MB at last | growth, MB an hour |",
            "|---|--:|--:|--:|",
            *rows,
            "",
            f"Lag at most {lag['most']:,} messages, growing by {lag['growth_an_hour']:,} an hour. "
            f"Visible to readers within {fresh['p50']} s (half), {fresh['p99']} s (99 of 100), "
            f"{fresh['max']} s (all).",
        ]
    )


def run(
    folder: Path, kind: StoreKind, events: int, rate: int, minutes: float, turn: int, *, term: float = TERM
) -> dict[str, Any]:
    """Soak a stand whose store holds so many facts at first."""
    held = prepare_events(events)
    count = int(rate * minutes * 60)
    with running(folder, kind, held, BATCH, term) as stand:
        fill(stand)
        soaked = soak(stand, new_facts(held, count, turn), rate, max(1.0, minutes * 60 / 120))
    result = {"machine": machine(), "store": kind, "facts_before": events, **soaked}
    return {**result, "wrong": verdict(result)}


def main() -> None:
    """Run the soak, print its table and JSON; ends with 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--store", choices=("postgresql", "duckdb"), default="postgresql")
    parser.add_argument("--folder", type=Path, help="keep the store there, and take it up again")
    parser.add_argument("--turn", type=int, default=200, help="of another number other new events are drawn")
    arguments = parser.parse_args()
    with kept_or_temporary(arguments.folder) as folder:
        soaked = run(
            folder, arguments.store, arguments.events, arguments.rate, arguments.minutes, arguments.turn
        )
    print(table(soaked))
    print_json(soaked)
    if soaked["wrong"]:
        sys.exit("; ".join(soaked["wrong"]))


if __name__ == "__main__":
    main()
