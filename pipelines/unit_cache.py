"""A cache in front of the store, for a process that stitches batch after batch: which unit a node is of, and facts.

It is written through: what a publication changes in the store changes here once all of it has been committed, and
a publication that was begun and not finished throws everything away. What is not here is read from the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from milepost.numbering import Numbering
from pipelines.fact_rows import FactRows, grown, total
from pipelines.staging import read_frames
from schemas.contracts import FACT_TYPES
from warehouse.store import Store, UInt64Array, fact_columns

Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

#: How many facts the cache holds at most: some 200 bytes each.
MOST_FACTS = 10_000_000
#: How many nodes: with more than that in the store, it answers. Some 30 bytes each.
MOST_NODES = 50_000_000
#: Units whose facts are read from the store at a time when the cache is filled.
_UNITS_AT_ONCE = 50_000

UNKNOWN = -1


@numba.njit(cache=True)
def _roots(merged_into: Int32Array, slots: Int32Array) -> Int32Array:
    roots = np.empty(len(slots), dtype=np.int32)
    for place in range(len(slots)):
        slot = slots[place]
        while merged_into[slot] != slot:
            merged_into[slot] = merged_into[merged_into[slot]]
            slot = merged_into[slot]
        roots[place] = slot
    return roots


class _Units:
    """Slots of units, and the unit of each node. A merged unit's slot leads to that of the unit it is part of now."""

    def __init__(self) -> None:
        self._labels = Numbering()
        self._nodes = Numbering()
        self._slot_of_node: Int32Array = np.zeros(16, dtype=np.int32)
        self._merged_into: Int32Array = np.zeros(16, dtype=np.int32)

    @property
    def nodes(self) -> int:
        return len(self._nodes)

    def slots(self, units: UInt64Array) -> Int32Array:
        """Give the slots of units, new ones where they have none."""
        before = len(self._labels)
        slots = self._labels.number(units)
        after = len(self._labels)
        self._merged_into = grown(self._merged_into, after, 0).astype(np.int32, copy=False)
        self._merged_into[before:after] = np.arange(before, after, dtype=np.int32)
        return _roots(self._merged_into, slots)  # type: ignore[no-any-return]

    def known(self, units: UInt64Array) -> BoolArray:
        """Say which units have a slot."""
        known: BoolArray = self._labels.find(units) != UNKNOWN
        return known

    def learn(self, nodes: UInt64Array, units: UInt64Array) -> None:
        """Remember the units of nodes."""
        slots = self.slots(units)
        numbers = self._nodes.number(nodes)
        self._slot_of_node = grown(self._slot_of_node, len(self._nodes), 0).astype(np.int32, copy=False)
        self._slot_of_node[numbers] = slots

    def merge(self, old: UInt64Array, new: UInt64Array) -> tuple[Int32Array, Int32Array]:
        """Let units be part of others; give the slots of both."""
        old_slots, new_slots = self.slots(old), self.slots(new)
        self._merged_into[old_slots] = new_slots
        return old_slots, new_slots

    def units_of(self, nodes: UInt64Array) -> pl.DataFrame:
        """Give `node`, `unit` of the nodes that are known."""
        asked = np.unique(nodes)
        numbers = self._nodes.find(asked)
        asked, numbers = asked[numbers != UNKNOWN], numbers[numbers != UNKNOWN]
        slots = _roots(self._merged_into, self._slot_of_node[numbers])
        return pl.DataFrame({"node": asked, "unit": self._labels.keys[slots]})


class _Generation:
    """The facts of some units, all of their facts each."""

    def __init__(self) -> None:
        codes = pl.Categories.random("milepost")
        self.facts = {name: FactRows(pl.Schema(fact_columns(name)), codes) for name in FACT_TYPES}
        self._present: BoolArray = np.zeros(16, dtype=np.bool_)

    def __len__(self) -> int:
        return total(self.facts.values())

    def has(self, slots: Int32Array) -> BoolArray:
        """Say of which slots it has the facts."""
        self._make_room(slots)
        return self._present[slots]

    def add(self, slots: Int32Array) -> None:
        """Say that the facts of these slots are there, or follow."""
        self._make_room(slots)
        self._present[slots] = True

    def drop(self, slots: Int32Array) -> None:
        """Forget the facts of these slots."""
        self._make_room(slots)
        self._present[slots] = False
        for rows in self.facts.values():
            rows.drop(slots)

    def _make_room(self, slots: Int32Array) -> None:
        needed = int(slots.max(initial=-1)) + 1
        self._present = grown(self._present, needed, 0).astype(np.bool_, copy=False)


@dataclass
class _Changes:
    """What a publication changes in the store; nothing is kept of one that is not followed."""

    followed: bool = True
    gone: dict[str, pl.Series] = field(default_factory=dict)
    coming: dict[str, pl.DataFrame] = field(default_factory=dict)
    merged: list[tuple[UInt64Array, UInt64Array]] = field(default_factory=list)
    named: list[tuple[UInt64Array, UInt64Array]] = field(default_factory=list)


def with_cache(store: Store, most_facts: int = MOST_FACTS, most_nodes: int = MOST_NODES) -> Store:
    """Put a cache in front of a store that nobody else writes to; see `UnitCache`."""
    # It forwards what it does not have, which a type checker does not see.
    return cast("Store", UnitCache(store, most_facts, most_nodes))


class UnitCache:
    """A store whose units are cached; whatever else a store can do is done by the store.

    Facts are held in two generations: those used lately are in the young one; when this has grown to half
    of the bound, it becomes the old one, and what was still in the old one before is forgotten.
    """

    def __init__(self, store: Store, most_facts: int = MOST_FACTS, most_nodes: int = MOST_NODES) -> None:
        """Start empty; the cache is filled by the first question."""
        self.store = store
        self.most_facts = most_facts
        self.most_nodes = most_nodes
        self._forget()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def _forget(self) -> None:
        self._changes: _Changes | None = None
        self._units = _Units()
        self._young, self._old = _Generation(), _Generation()
        self._filled = self._knows_nodes = False

    @property
    def facts(self) -> int:
        """Count the facts that are held."""
        return len(self._young) + len(self._old)

    @property
    def bytes(self) -> int:
        """Estimate the memory that facts take."""
        return sum(rows.bytes for one in (self._young, self._old) for rows in one.facts.values())

    # Questions

    def units_of(self, nodes: UInt64Array | None) -> pl.DataFrame:
        """Look nodes up."""
        self._be_ready()
        if nodes is None or not self._knows_nodes:
            return self.store.units_of(nodes)
        return self._units.units_of(nodes)

    def load_facts(self, units: UInt64Array | None) -> dict[str, pl.DataFrame]:
        """Load the facts of units."""
        self._be_ready()
        if units is None:
            return self.store.load_facts(None)
        slots, places = np.unique(self._units.slots(units), return_index=True)
        self._load_missing(slots, units[places])
        labels = units[places]
        found = {}
        for name, rows in self._young.facts.items():
            facts, owners = rows.take(slots)
            found[name] = facts.with_columns(pl.Series("unit", labels[owners], pl.UInt64)).select(
                list(fact_columns(name))
            )
        return found

    def _be_ready(self) -> None:
        if self._changes is not None:
            # A publication was begun and not finished: who knows what the store holds.
            self._forget()
        if not self._filled:
            self._filled = True
            self._fill()

    def _fill(self) -> None:
        """Read nodes, and the facts of units as long as half of the bound holds them."""
        known = self.store.units_of(None)
        if known.height > self.most_nodes:
            return
        self._knows_nodes = True
        nodes, labels = known.get_column("node").to_numpy(), known.get_column("unit").to_numpy()
        self._units.learn(nodes, labels)
        units = np.unique(labels)
        for start in range(0, len(units), _UNITS_AT_ONCE):
            if len(self._young) >= self.most_facts // 2:
                return
            some = units[start : start + _UNITS_AT_ONCE]
            self._load_missing(self._units.slots(some), some)

    def _load_missing(self, slots: Int32Array, units: UInt64Array) -> None:
        """Bring the facts of units into the young generation, from the old one or from the store."""
        missing = ~self._young.has(slots)
        older = missing & self._old.has(slots)
        if older.any():
            moved = slots[older]
            for name, rows in self._old.facts.items():
                facts, owners = rows.take(moved)
                self._young.facts[name].append(moved[owners], facts)
            self._old.drop(moved)
            self._young.add(moved)
        unread = missing & ~older
        if unread.any():
            for name, facts in self.store.load_facts(units[unread]).items():
                by_unit = facts.sort("unit")
                self._young.facts[name].append(
                    self._units.slots(by_unit.get_column("unit").to_numpy()), by_unit
                )
            self._young.add(slots[unread])

    # Changes

    def note_publication(self, publication_id: str) -> None:
        """Note that a publication is under way."""
        if self._changes is not None:
            self._forget()
        self._changes = _Changes(followed=self._filled)
        self.store.note_publication(publication_id)

    def forget_publication(self) -> None:
        """Take the note away, and take over what the publication changed."""
        self.store.forget_publication()
        changes, self._changes = self._changes, None
        if changes is None:
            return
        if changes.followed:
            self._take_over(changes)
        else:
            self._forget()

    def _changing(self) -> _Changes:
        if self._changes is None:
            # A change outside of a publication: nothing that is held counts any more.
            self._changes = _Changes(followed=False)
        return self._changes

    def insert_facts(self, name: str, paths: Sequence[Path]) -> None:
        """Add facts from Parquet files."""
        if paths and self._changing().followed:
            self._changing().coming[name] = read_frames(paths, pl.Schema(fact_columns(name)))
        self.store.insert_facts(name, paths)

    def delete_facts(self, name: str, event_ids: pl.Series) -> None:
        """Take facts out by event_id."""
        self._changing().gone[name] = event_ids
        self.store.delete_facts(name, event_ids)

    def relabel(self, old: UInt64Array, new: UInt64Array) -> None:
        """Merge units."""
        self._changing().merged.append((old, new))
        self.store.relabel(old, new)

    def insert_nodes(self, nodes: UInt64Array, units: UInt64Array) -> None:
        """Add nodes with their units."""
        self._changing().named.append((nodes, units))
        self.store.insert_nodes(nodes, units)

    def emptied(self) -> AbstractContextManager[None]:
        """Take everything out that a rebuild makes anew, which it adds inside."""
        self._changing().followed = False
        return self.store.emptied()

    def _take_over(self, changes: _Changes) -> None:
        for old, new in changes.merged:
            self._merge(old, new)
        for name, event_ids in changes.gone.items():
            again = changes.coming.get(name, pl.DataFrame(schema={"event_id": pl.String}))
            if not event_ids.is_in(again.get_column("event_id").implode()).all():
                # Facts are replaced, never taken away: this was something else.
                self._forget()
                return
        for name, facts in changes.coming.items():
            self._replace(name, facts, changes.gone.get(name))
        if self._knows_nodes:
            for nodes, units in changes.named:
                self._units.learn(nodes, units)
            self._knows_nodes = self._units.nodes <= self.most_nodes
        if len(self._young) > self.most_facts // 2:
            self._old, self._young = self._young, _Generation()

    def _merge(self, old: UInt64Array, new: UInt64Array) -> None:
        old_slots, new_slots = self._units.merge(old, new)
        whole = self._young.has(old_slots) & self._young.has(new_slots)
        for rows in self._young.facts.values():
            rows.join(old_slots[whole], new_slots[whole])
        partly = np.concatenate([old_slots[~whole], new_slots[~whole]])
        for generation in (self._young, self._old):
            generation.drop(partly)

    def _replace(self, name: str, facts: pl.DataFrame, gone: pl.Series | None) -> None:
        units = facts.get_column("unit").to_numpy()
        # A unit that the cache would know and does not is new: these are all of its facts.
        new = ~self._units.known(units) & self._knows_nodes
        slots = self._units.slots(units)
        self._young.add(slots[new])
        held = self._young.has(slots)
        self._old.drop(np.unique(slots[~held]))
        rows = self._young.facts[name]
        if gone is not None:
            again = facts.get_column("event_id").is_in(gone.implode()).to_numpy() & held
            rows.replace(slots[again], gone)
        rows.append(slots[held], facts.filter(pl.Series(held)))
        if self._knows_nodes:
            self._units.learn(facts.get_column("key").to_numpy(), units)
