"""Facts of one type in memory, by unit: frames that only grow, and for every unit the list of its rows."""

from __future__ import annotations

from collections.abc import Iterable

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

#: Texts that many facts share, and those that few facts have: a code of 4 bytes for each, not 16 and the text.
CODED = frozenset(
    {
        *("source", "kind", "channel", "team", "reach", "campaign_id", "content", "owner", "reason"),
        *("opportunity_stage", "currency", "purpose", "attribute", "subject_type", "mapping_version"),
        *("account_id", "opportunity_id", "subscription_id", "deal_id", "conversion_id"),
    }
)

#: A frame is joined with the next smaller one unless it is so many times larger: few frames, seldom copied.
_RATIO = 4
#: A frame is not made larger than that: joining takes both in memory at a time.
_LARGEST = 1_000_000

NO_ROW = -1


@numba.njit(cache=True)
def _walk(heads: Int32Array, following: Int32Array, slots: Int32Array) -> tuple[Int32Array, Int32Array]:
    """Give the rows of each slot, and the place of the slot that each belongs to."""
    count = 0
    for slot in slots:
        row = heads[slot]
        while row >= 0:
            count += 1
            row = following[row]
    rows = np.empty(count, dtype=np.int32)
    places = np.empty(count, dtype=np.int32)
    filled = 0
    for place in range(len(slots)):
        row = heads[slots[place]]
        while row >= 0:
            rows[filled], places[filled] = row, place
            filled += 1
            row = following[row]
    return rows, places


@numba.njit(cache=True)
def _link(heads: Int32Array, following: Int32Array, slots: Int32Array, first: int) -> None:
    # From the last row to the first: a list then goes through memory forwards.
    for place in range(len(slots) - 1, -1, -1):
        following[first + place] = heads[slots[place]]
        heads[slots[place]] = first + place


@numba.njit(cache=True)
def _unlink(heads: Int32Array, following: Int32Array, slots: Int32Array, rows: Int32Array) -> None:
    for place in range(len(rows)):
        slot, gone = slots[place], rows[place]
        if heads[slot] == gone:
            heads[slot] = following[gone]
            continue
        row = heads[slot]
        while following[row] != gone:
            row = following[row]
        following[row] = following[gone]


@numba.njit(cache=True)
def _join(heads: Int32Array, following: Int32Array, old: Int32Array, new: Int32Array) -> None:
    for place in range(len(old)):
        row = heads[old[place]]
        if row < 0:
            continue
        while following[row] >= 0:
            row = following[row]
        following[row] = heads[new[place]]
        heads[new[place]] = heads[old[place]]
        heads[old[place]] = NO_ROW


def grown(array: npt.NDArray[np.generic], needed: int, filler: int) -> npt.NDArray[np.generic]:
    """Give the array with room for so many, doubled where that is more."""
    if needed <= len(array):
        return array
    larger = np.full(max(needed, 2 * len(array)), filler, dtype=array.dtype)
    larger[: len(array)] = array
    return larger


class FactRows:
    """Facts of one type by slot, a number that stands for their unit."""

    def __init__(self, schema: pl.Schema, codes: pl.Categories) -> None:
        """Hold no facts yet.

        Args:
            schema: the columns of facts; `unit` is not kept.
            codes: of the texts in `CODED` and of identifiers; several types may have the same.
        """
        self._schema = pl.Schema({name: kind for name, kind in schema.items() if name != "unit"})
        self._packed = {
            name: pl.Categorical(codes) if name in CODED else pl.List(pl.Categorical(codes))
            for name, kind in self._schema.items()
            if (name in CODED and kind == pl.String) or name == "identifiers"
        }
        self._frames: list[pl.DataFrame] = []
        self._heads: Int32Array = np.full(16, NO_ROW, dtype=np.int32)
        self._following: Int32Array = np.full(16, NO_ROW, dtype=np.int32)
        self._rows = 0

    def __len__(self) -> int:
        """Count the rows, those no longer listed too."""
        return self._rows

    @property
    def bytes(self) -> int:
        """Estimate the memory that all of it takes."""
        # Polars counts what texts refer to, not the 16 bytes that refer to it.
        texts = sum(
            16 * len(frame.get_column(name))
            for frame in self._frames
            for name in frame.select(cs.string()).columns
        )
        frames = sum(int(frame.estimated_size()) for frame in self._frames)
        return frames + texts + self._heads.nbytes + self._following.nbytes

    def append(self, slots: Int32Array, facts: pl.DataFrame) -> None:
        """Add facts, each to the list of its slot."""
        if not facts.height:
            return
        self._make_room(int(slots.max()) + 1)
        needed = self._rows + facts.height
        self._following = grown(self._following, needed, NO_ROW).astype(np.int32, copy=False)
        _link(self._heads, self._following, slots, self._rows)
        self._rows = needed
        self._frames.append(self._pack(facts))
        self._join_frames()

    def take(self, slots: Int32Array) -> tuple[pl.DataFrame, Int32Array]:
        """Give the facts of slots, without `unit`, and for each the place of its slot among those asked for."""
        self._make_room(int(slots.max(initial=-1)) + 1)
        rows, places = _walk(self._heads, self._following, slots)
        order = np.argsort(rows, kind="stable")
        return self._unpack(self._gather(rows[order])), places[order]

    def replace(self, slots: Int32Array, event_ids: pl.Series) -> None:
        """Take facts off the lists of the slots by event_id; their room stays taken."""
        self._make_room(int(slots.max(initial=-1)) + 1)
        asked = np.unique(slots)
        rows, places = _walk(self._heads, self._following, asked)
        order = np.argsort(rows, kind="stable")
        rows, places = rows[order], places[order]
        gone = self._gather(rows, "event_id").get_column("event_id").is_in(event_ids.implode()).to_numpy()
        _unlink(self._heads, self._following, asked[places[gone]], rows[gone])

    def join(self, old: Int32Array, new: Int32Array) -> None:
        """Move the facts of slot old[i] to slot new[i], one after the other."""
        self._make_room(int(max(old.max(initial=-1), new.max(initial=-1))) + 1)
        _join(self._heads, self._following, old, new)

    def drop(self, slots: Int32Array) -> None:
        """Empty the lists of slots."""
        self._make_room(int(slots.max(initial=-1)) + 1)
        self._heads[slots] = NO_ROW

    def _join_frames(self) -> None:
        while len(self._frames) > 1:
            larger, last = self._frames[-2:]
            if larger.height >= _RATIO * last.height or larger.height + last.height > _LARGEST:
                return
            self._frames[-2:] = [pl.concat([larger, last], how="diagonal", rechunk=True)]

    def _make_room(self, slots: int) -> None:
        self._heads = grown(self._heads, slots, NO_ROW).astype(np.int32, copy=False)

    def _pack(self, facts: pl.DataFrame) -> pl.DataFrame:
        filled = [name for name in self._schema if facts.get_column(name).null_count() < facts.height]
        packed = {name: kind for name, kind in self._packed.items() if name in filled}
        return facts.select(filled).cast(packed).rechunk()  # type: ignore[arg-type]

    def _unpack(self, facts: pl.DataFrame) -> pl.DataFrame:
        found = facts.schema
        return facts.select(
            pl.lit(None, kind).alias(name)
            if name not in found
            else pl.col(name)
            if found[name] == kind
            else pl.col(name).cast(kind)
            for name, kind in self._schema.items()
        )

    def _gather(self, rows: Int32Array, *columns: str) -> pl.DataFrame:
        """Gather rows, which are sorted."""
        parts: list[pl.DataFrame] = []
        start, begin = 0, 0
        for frame in self._frames:
            end = int(np.searchsorted(rows, start + frame.height))
            if end > begin:
                places = pl.Series(rows[begin:end] - start).cast(pl.UInt32)
                parts.append(frame.select(pl.col(list(columns) or frame.columns).gather(places)))
            start, begin = start + frame.height, end
        if not parts:
            return pl.DataFrame(schema=self._schema)
        return pl.concat(parts, how="diagonal", rechunk=True)


def total(rows: Iterable[FactRows]) -> int:
    """Count the rows of several types."""
    return sum(len(one) for one in rows)
