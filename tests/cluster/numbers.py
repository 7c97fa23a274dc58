"""A continuous job as small as it can be: numbers in lists, from a splittable source into files by name.

Which file a number goes to is decided by the number alone, so writing again changes nothing; each writing leaves a
line in a log, so that a test sees what was written more than once.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import Duration

#: How many numbers an element holds.
LIST = 500


@dataclass(frozen=True)
class Lane:
    """Numbers from 0 up to `count`, a list of them every `pause` seconds; a bundle takes `bundle` seconds."""

    name: str
    count: int
    pause: float = 0.05
    bundle: float = 1.0


class Turns(RestrictionProvider):  # type: ignore[misc]
    """A lane's numbers are a range of offsets."""

    def initial_restriction(self, element: Lane) -> OffsetRange:
        return OffsetRange(0, element.count)

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def restriction_size(self, element: Lane, restriction: OffsetRange) -> int:
        size: int = restriction.size()
        return size


_TURNS = beam.DoFn.RestrictionParam(Turns())


class Count(beam.DoFn):  # type: ignore[misc]
    """A lane → (its name, the first number, the numbers), list by list."""

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(self, lane: Lane, tracker: Any = _TURNS) -> Iterator[tuple[str, int, list[int]]]:
        position = tracker.current_restriction().start
        end = time.monotonic() + lane.bundle
        # A remainder costs Flink state that it never gives back (apache/beam#27648): few of them, of long bundles.
        while time.monotonic() < end:
            # A list is claimed by its last number: all of it, or none.
            stop = min(position + LIST, lane.count)
            if position >= lane.count or not tracker.try_claim(stop - 1):
                return
            yield lane.name, position, list(range(position, stop))
            position = stop
            time.sleep(lane.pause)
        tracker.defer_remainder(Duration(seconds=0))


class Write(beam.DoFn):  # type: ignore[misc]
    """(lane, first number, numbers) → a file of that name, whole or not there; and a line in the log."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def process(self, element: tuple[str, int, list[int]]) -> None:
        lane, first, numbers = element
        folder = Path(self.folder)
        unfinished = folder / f".{lane}-{first}.{os.getpid()}"
        unfinished.write_text("\n".join(map(str, numbers)), encoding="ascii")
        unfinished.replace(folder / f"{lane}-{first}")
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(log, f"{lane}-{first}\n".encode())
        finally:
            os.close(log)


def build(pipeline: beam.Pipeline, lanes: list[Lane], folder: Path) -> None:
    """Build the job; its files go into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (
        pipeline
        | "Lanes" >> beam.Create(lanes, reshuffle=False)
        | "Deal" >> beam.Reshuffle()
        | "Count" >> beam.ParDo(Count())
        | "Write" >> beam.ParDo(Write(str(folder)))
    )


def written(folder: Path, lane: Lane) -> list[int]:
    """Give a lane's numbers as the files have them, in order."""
    files = [path for path in folder.iterdir() if path.name.startswith(f"{lane.name}-")]
    return sorted(int(line) for file in files for line in file.read_text(encoding="ascii").split())


def writings(folder: Path) -> Counter[str]:
    """Count how often each file was written."""
    log = folder.with_suffix(".log")
    return Counter(log.read_text(encoding="ascii").split()) if log.exists() else Counter()
