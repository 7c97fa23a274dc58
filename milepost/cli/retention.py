"""The raw zone of a home holds clear text: payloads of dead letters, which are kept for a set time and no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from connectors.bus import DEAD_LETTERS, Bus, read_bus_file


def clear_raw_zone(home: Path, today: datetime, days: int) -> int:
    """Take payloads that are older than so many days out of the dead letters and the raw zone; gives how many.

    What is rejected stays counted, with its reason, its hash and where it came from.
    """
    bus, limit = Bus(home), today - timedelta(days=days)
    cleared = 0
    for path in bus.current_files(DEAD_LETTERS):
        letters = read_bus_file(path)
        old = (letters["received_at"] < limit) & letters["payload"].is_not_null()
        if old.any():
            kept = letters.with_columns(pl.when(~old).then(pl.col("payload")).alias("payload"))
            bus.write(DEAD_LETTERS, path.stem, kept)
            cleared += int(old.sum())
    for path in raw_files(home):
        if _age(path) < limit:
            path.unlink()
            cleared += 1
    return cleared


def oldest_payload(home: Path) -> datetime | None:
    """Give the time of the oldest payload that is kept; None where there is none."""
    bus = Bus(home)
    times = [_age(path) for path in raw_files(home)]
    for path in bus.current_files(DEAD_LETTERS):
        letters = read_bus_file(path)
        oldest = letters.filter(letters["payload"].is_not_null())["received_at"].min()
        if isinstance(oldest, datetime):
            times.append(oldest)
    return min(times, default=None)


def raw_files(home: Path) -> list[Path]:
    """List the files of the raw zone."""
    folder = Bus(home).raw_zone
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def _age(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
