"""How records arrive: most within minutes, some late by weeks or years, some twice, none in order."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl

from milepost.simulate.world import DAY, HOUR, LAST_EXPORT

#: Share of records that a system delivers a second time, later.
DUPLICATE_SHARE = 0.05
LATE_SHARE = 0.01
YEARS_LATE_SHARE = 0.002


def arrivals(rng: np.random.Generator, records: pl.DataFrame) -> pl.DataFrame:
    """Add `received` (second) to records with `at`, deliver some of them twice, and shuffle.

    A second delivery differs from the first in `received` alone.
    """
    count = records.height
    luck = rng.random(count)
    delay = rng.exponential(HOUR / 2, count)
    delay += (luck < LATE_SHARE) * rng.exponential(20 * DAY, count)
    delay += (luck < YEARS_LATE_SHARE) * rng.uniform(365 * DAY, 3 * 365 * DAY, count)
    first = np.minimum(records["at"].to_numpy() + 1 + delay.astype(np.int64), LAST_EXPORT)
    again = np.flatnonzero(rng.random(count) < DUPLICATE_SHARE)
    # Redelivery comes hours or days after the first delivery.
    second = first[again] + 60 + rng.exponential(2 * DAY, len(again)).astype(np.int64)
    which = np.concatenate([np.arange(count), again])
    received = np.concatenate([first, second])
    order = rng.permutation(len(which))
    return records[which[order]].with_columns(pl.Series("received", received[order]))


def stamp(column: str, form: str = "%Y-%m-%d %H:%M:%S") -> pl.Expr:
    """Write seconds since 1970 as text."""
    return pl.from_epoch(column, time_unit="s").dt.strftime(form)


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as its suffix says: `.csv`, `.jsonl` (also with `.gz`) or `.parquet`; same frame, same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.name.removesuffix(".gz").rpartition(".")[2]
    if suffix == "parquet":
        frame.write_parquet(path, compression="zstd", statistics=False)
        return
    text = frame.write_csv() if suffix == "csv" else frame.write_ndjson()
    content = text.encode()
    # No name and no time of day in the header: the same world gives the same bytes.
    path.write_bytes(gzip.compress(content, compresslevel=3, mtime=0) if path.suffix == ".gz" else content)


def write_by_year(frame: pl.DataFrame, received: pl.Series, folder: Path, suffix: str) -> int:
    """Write one file per year of arrival into the folder, `2018` + suffix and so on; gives how many rows.

    Without rows it writes the columns' names alone, where the form has such a thing.
    """
    if frame.is_empty() and "jsonl" not in suffix:
        write(frame, folder / f"empty{suffix}")
    years = pl.from_epoch(received, time_unit="s").dt.year()
    for year in sorted(years.unique().to_list()):
        write(frame.filter(years == year), folder / f"{year}{suffix}")
    return frame.height
