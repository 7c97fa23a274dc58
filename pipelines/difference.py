"""What differs between two states of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from milepost.numbering import Numbering

_Rows = npt.NDArray[np.int64]


def unchanged(old: pl.DataFrame, new: pl.DataFrame, key: Sequence[str]) -> tuple[pl.Series, pl.Series]:
    """Say of each row of a table's old state whether the new one has it, and of each of the new whether the old has.

    Args:
        old: rows without repeated keys.
        new: the same columns, words may be Enums or text.
        key: the columns of the key.
    """
    old_rows, new_rows = _paired(old, new, key)
    same = _equal(old, new, old_rows, new_rows)
    return _marked(old.height, old_rows[same]), _marked(new.height, new_rows[same])


def _paired(old: pl.DataFrame, new: pl.DataFrame, key: Sequence[str]) -> tuple[_Rows, _Rows]:
    """Pair rows whose keys have one hash. Where keys differ all the same, so do the rows."""
    if not old.height or not new.height:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    hashes = Numbering(old.height)
    numbers = hashes.number(old.select(key).hash_rows().to_numpy())
    row_of = np.empty(len(hashes), dtype=np.int64)
    row_of[numbers] = np.arange(old.height)
    found = hashes.find(new.select(key).hash_rows().to_numpy())
    return row_of[found[found >= 0]], np.flatnonzero(found >= 0)


def _equal(old: pl.DataFrame, new: pl.DataFrame, old_rows: _Rows, new_rows: _Rows) -> npt.NDArray[np.bool_]:
    """Compare pairs of rows, column by column."""
    if not len(old_rows):
        return np.zeros(0, dtype=np.bool_)
    columns = [name for name in new.columns if not _is_empty(old, name) or not _is_empty(new, name)]
    was = _picked(old.select(columns), old_rows).rename({name: f"{name}.was" for name in columns})
    compared = _picked(new.select(columns), new_rows).hstack(was)
    equal = compared.select(
        pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}.was")) for name in columns)
    ).to_series()
    return equal.to_numpy()


def _picked(frame: pl.DataFrame, rows: _Rows) -> pl.DataFrame:
    """Gather rows; mostly these are all, in their order."""
    if len(rows) == frame.height and np.array_equal(rows, np.arange(frame.height)):
        return frame
    return frame.select(pl.all().gather(pl.Series(rows).cast(pl.UInt32)))


def _is_empty(frame: pl.DataFrame, name: str) -> bool:
    return frame.get_column(name).null_count() == frame.height


def _marked(height: int, rows: _Rows) -> pl.Series:
    marks = np.zeros(height, dtype=np.bool_)
    marks[rows] = True
    return pl.Series(marks)
