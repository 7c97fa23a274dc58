"""The events that all contestants read: the same rows as an Avro bus and as Parquet files.

`python -m benchmarks.events --events 1000000` writes them once; a later call with the same number, seed and
generator finds them.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.avro_columns import write_avro
from benchmarks.journeys import DUPLICATE_SHARE, draw_journeys
from benchmarks.render import render

FACTS_PER_FILE = 100_000
DEFAULT_SEED = 7
#: New events of batches are numbered from here.
FIRST_NEW_EVENT = 1 << 40
_DAY = 86_400 * 1_000_000
_GENERATOR = ("journeys.py", "render.py", "avro_columns.py", "events.py")


@dataclass(frozen=True)
class EventFiles:
    """Where the events are: `home` holds `bus/touchpoint/*.avro`, `parquet` the same rows as `*.parquet`."""

    home: Path
    parquet: Path
    events: int

    @property
    def bus(self) -> Path:
        """The folder of Avro files."""
        return self.home / "bus" / "touchpoint"


def default_cache() -> Path:
    """Give the folder in which generated events are kept."""
    return Path(os.environ.get("MILEPOST_BENCH_CACHE", Path(tempfile.gettempdir()) / "milepost-bench"))


def _generator_hash() -> str:
    folder = Path(__file__).parent
    texts = [(folder / name).read_bytes() for name in _GENERATOR]
    texts.append((folder.parent / "schemas" / "touchpoint.avsc").read_bytes())
    texts.append((folder.parent / "schemas" / "vocabulary.yaml").read_bytes())
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


def write_events(events: int, seed: int, folder: Path) -> None:
    """Write the events into the folder: `bus/touchpoint/*.avro` and `parquet/*.parquet`."""
    bus, parquet = folder / "bus" / "touchpoint", folder / "parquet"
    bus.mkdir(parents=True)
    parquet.mkdir()
    journeys = draw_journeys(events, seed)
    for number, start in enumerate(range(0, events, FACTS_PER_FILE)):
        rows = np.arange(start, min(start + FACTS_PER_FILE, events))
        facts = render(journeys.take(rows), seed)
        write_avro(facts, "touchpoint", bus / f"{number:08d}.avro")
        facts.write_parquet(parquet / f"{number:08d}.parquet", compression="zstd", compression_level=1)


def prepare_events(events: int, seed: int = DEFAULT_SEED, cache: Path | None = None) -> EventFiles:
    """Find the events in the cache, or write them there."""
    cache = default_cache() if cache is None else cache
    folder = cache / f"events-{events}-{seed}-{_generator_hash()}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        half_written = Path(tempfile.mkdtemp(dir=cache))
        try:
            write_events(events, seed, half_written)
            half_written.rename(folder)
        finally:
            shutil.rmtree(half_written, ignore_errors=True)
    return EventFiles(home=folder, parquet=folder / "parquet", events=events)


def write_batches(files: EventFiles, seed: int, folder: Path, batches: int, size: int) -> list[Path]:
    """Write batches that arrive later: new events of random customers, and deliveries seen before.

    Returns:
        Avro files of `size` facts each in `FOLDER/touchpoint`; Parquet files of the same rows lie beside them.
    """
    folder = folder / "touchpoint"
    folder.mkdir(parents=True, exist_ok=True)
    journeys = draw_journeys(files.events, seed)
    rng = np.random.default_rng((seed, batches, size))
    paths = []
    for batch in range(batches):
        some = journeys.take(rng.choice(files.events, size=size, replace=False))
        is_new = rng.random(size) >= DUPLICATE_SHARE
        numbers = FIRST_NEW_EVENT + batch * size + np.arange(size)
        later = dataclasses.replace(
            some,
            event=np.where(is_new, numbers, some.event),
            occurred_at=some.occurred_at + np.where(is_new, rng.integers(0, 30 * _DAY, size), 0),
            received_at=some.received_at + (batch + 40) * _DAY,
        )
        facts = render(later, seed)
        path = folder / f"batch-{batch:03d}.avro"
        write_avro(facts, "touchpoint", path)
        facts.write_parquet(path.with_suffix(".parquet"))
        paths.append(path)
    return paths


def main() -> None:
    """Write the events that the command line asks for and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    arguments = parser.parse_args()
    print(prepare_events(arguments.events, arguments.seed).home)


if __name__ == "__main__":
    main()
