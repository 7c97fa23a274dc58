"""The staging folder of a run: batches of rows on their way from step to step, as Parquet files.

Parquet, not Arrow files: words and repeated ids take a quarter of the room, and what staging costs is memory for
pages of files that were never there before.

A Beam element is a reference to such a file, so that a shuffle never holds the rows themselves; beyond one machine
the folder must be one that all workers see.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from milepost.words import fitted


@dataclass(frozen=True)
class Staging:
    """A run's staging folder."""

    root: str

    def path(self, *parts: str) -> Path:
        """Give a path in the folder, its parent made."""
        path = Path(self.root, *parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, frame: pl.DataFrame, *parts: str) -> str:
        """Write a frame, without columns that hold nothing, and give its path."""
        filled = [name for name in frame.columns if frame.get_column(name).null_count() < frame.height]
        return self.write_whole(frame.select(filled) if frame.height else frame, *parts)

    def write_whole(self, frame: pl.DataFrame, *parts: str) -> str:
        """Write a frame with all of its columns, and give its path."""
        path = self.path(*parts)
        frame.write_parquet(path, compression="uncompressed", statistics=False)
        return str(path)

    def write_array(self, array: npt.NDArray[np.generic], *parts: str) -> str:
        """Write an array and give its path."""
        path = self.path(*parts)
        np.save(path, array, allow_pickle=False)
        return str(path)

    def files(self, *parts: str) -> list[Path]:
        """List the files of a subfolder in the order of their names."""
        folder = Path(self.root, *parts)
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def read(self, *parts: str, schema: pl.Schema) -> pl.DataFrame:
        """Read all files of a subfolder as one frame of the schema."""
        return read_frames(self.files(*parts), schema)

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.root, ignore_errors=True)


def read_whole(path: str | Path) -> pl.DataFrame:
    """Read a frame as it was written, null columns left out."""
    return pl.read_parquet(path, glob=False, hive_partitioning=False)


def read_frame(path: str | Path, schema: pl.Schema) -> pl.DataFrame:
    """Read a frame, columns that held nothing as nulls, fitted to the schema."""
    frame = read_whole(path)
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in frame.columns]
    return fitted(frame.with_columns(missing), schema)


def read_frames(paths: Iterable[str | Path], schema: pl.Schema) -> pl.DataFrame:
    """Read frames as one, in one piece: rows are gathered from many pieces several times slower."""
    frames = [read_frame(path, schema) for path in paths]
    return pl.concat(frames, rechunk=True) if frames else pl.DataFrame(schema=schema)
