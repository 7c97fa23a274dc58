"""Milepost at the benchmark's job: a full rebuild from the bus, then batches of new events into what it built.

`python -m benchmarks.milepost_contestant HOME BUS_FILE… [--batch BUS_FILE]…` stitches the bus files in the fresh
folder HOME (`--built` leaves that out: an earlier process did it), then each batch by itself in the
same process, and prints JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.compare import MODELS
from benchmarks.meter import Meter, cpu_seconds
from milepost.rules import Rules
from pipelines.stitch import FactFile, StitchRequest, run_stitch
from schemas.vocabulary import load_vocabulary


def _request(home: Path, files: Sequence[Path]) -> StitchRequest:
    rules = Rules(models=MODELS)
    return StitchRequest(
        home=home,
        files=tuple(FactFile("touchpoint", path.stem, str(path)) for path in files),
        vocabulary=load_vocabulary(),
        rules=rules,
        rules_hash=rules.hash,
        published_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


#: The steps of a publication, up to its commit; `done` follows.
PUBLISHING = ("warehouse", "audit", "store", "commit")


def _stitch(home: Path, files: Sequence[Path], *, rebuild: bool) -> dict[str, float]:
    """Stitch and give CPU seconds by step: `read` until the last file is decoded, `fold` until tables are staged."""
    meter, steps = Meter(), ["fold"]

    def progress(stage: str, _: int) -> None:
        if stage == "read":
            meter.lap("read")

    def step(name: str) -> None:
        meter.lap(steps[-1])
        steps.append(name)

    run_stitch(_request(home, files), rebuild=rebuild, progress=progress, step=step)
    meter.lap(steps[-1])
    return meter.laps


def run(home: Path, files: Sequence[Path], batches: Sequence[Path], *, rebuild: bool) -> dict[str, Any]:
    """Do the job, then the batches one after the other; give CPU seconds of each."""
    home.mkdir(parents=True, exist_ok=True)
    phases = _stitch(home, files, rebuild=True) if rebuild else {}
    arrived, incremental = list(files), []
    for batch in batches:
        arrived.append(batch)
        before = cpu_seconds()
        phases_of_batch = _stitch(home, arrived, rebuild=False)
        whole = round(cpu_seconds() - before, 3)
        decoded_to_commit = round(sum(phases_of_batch[step] for step in ("fold", *PUBLISHING)), 3)
        incremental.append(
            {"cpu_seconds": whole, "decoded_to_commit": decoded_to_commit, "phases": phases_of_batch}
        )
    return {"phases": phases, "batches": incremental}


def main() -> None:
    """Run the contestant from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--batch", type=Path, action="append", default=[])
    parser.add_argument("--built", action="store_true", help="the files are stitched already")
    arguments = parser.parse_args()
    files, batches = arguments.files, arguments.batch
    print(json.dumps(run(arguments.home, files, batches, rebuild=not arguments.built)))


if __name__ == "__main__":
    main()
