"""Units of work: sets of facts that can be folded by themselves, whatever the other facts are.

A unit is a superset of a cluster: it holds every fact that names one of its identifiers, accounts, opportunities,
deals, campaigns or facts, through shared identifiers too. Nodes are 64-bit hashes: a collision joins two units,
which costs work and changes no result. Nobody reads units: they only say what must be folded together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from milepost.numbering import Int32Array, UInt64Array, rehash, slot_of
from schemas.vocabulary import Vocabulary

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Columns of facts that name something all of whose facts belong together, and the prefix that keeps their names
#: apart from those of identifiers and of one another.
_NAMING = {
    "touchpoint": {
        "account_id": "account/",
        "opportunity_id": "opportunity/",
        "deal_id": "deal/",
        "conversion_id": "fact/",
    },
    "spend": {},
    "exposure": {},
    "identity_link": {"a": "", "b": ""},
    "profile": {"subject_id": ""},
    "campaign": {"campaign_id": "campaign/"},
    "consent": {"identifier": ""},
    "erasure": {"identifier": ""},
    "retraction": {"target_event_id": "fact/", "link_a": "", "link_b": ""},
}

#: Columns of facts that name the two ends of a link.
_PAIRS = {"identity_link": ("a", "b"), "retraction": ("link_a", "link_b")}


@numba.njit(cache=True)
def _fnv(data: npt.NDArray[np.uint8], offsets: Int64Array, seed: np.uint64) -> UInt64Array:
    """Hash texts by FNV-1a, finished by a multiply and shift so that low bits depend on all of it."""
    hashes = np.empty(len(offsets) - 1, dtype=np.uint64)
    for text in range(len(hashes)):
        value = seed
        for place in range(offsets[text], offsets[text + 1]):
            value = (value ^ np.uint64(data[place])) * np.uint64(0x100000001B3)
        value ^= value >> np.uint64(32)
        value *= np.uint64(0x9E3779B97F4A7C15)
        hashes[text] = value ^ (value >> np.uint64(29))
    return hashes


def _seed(prefix: str) -> np.uint64:
    value = 0xCBF29CE484222325
    for byte in prefix.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return np.uint64(value)


def node_hash(names: pl.Series, prefix: str = "") -> UInt64Array:
    """Hash texts without nulls; the hash is fixed for ever, for stores keep it."""
    array = names.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if not len(array):
        return np.zeros(0, dtype=np.uint64)
    _, offsets, data = array.buffers()
    places = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    octets = (
        np.frombuffer(data, dtype=np.uint8) if data is not None and data.size else np.zeros(1, dtype=np.uint8)
    )
    hashes: UInt64Array = _fnv(octets, places, _seed(prefix))
    return hashes


@dataclass(frozen=True, eq=False)
class Nodes:
    """What a batch of facts names: fact `rows[i]` names node `names[i]`; `keys` are the facts' own nodes."""

    keys: UInt64Array
    rows: Int32Array
    names: UInt64Array


def is_blocked(names: pl.Series, vocabulary: Vocabulary) -> pl.Series:
    """Say which identifiers (`namespace:value`) the blocklist blocks."""
    inner = vocabulary.blocklist.pattern.removeprefix("^").removesuffix("$")
    return names.str.contains(rf"(?i)^[^:]*:\s*{inner}\s*$")


def _named(frame: pl.DataFrame, name: str, vocabulary: Vocabulary) -> list[tuple[Int32Array, UInt64Array]]:
    parts = []
    for column, prefix in _NAMING[name].items():
        texts = frame.get_column(column)
        rows = texts.is_not_null().arg_true()
        if not len(rows):
            continue
        texts = texts.gather(rows)
        # A profile names nobody else, and an account's name may look like a blocked identifier.
        if prefix == "" and name != "profile":
            usable = ~is_blocked(texts, vocabulary)
            rows, texts = rows.filter(usable), texts.filter(usable)
        parts.append((rows.cast(pl.Int32).to_numpy(), node_hash(texts, prefix)))
    return parts


def _blocked_pairs(
    frame: pl.DataFrame, a: str, b: str, vocabulary: Vocabulary
) -> tuple[Int32Array, UInt64Array]:
    """Name pairs of identifiers that are both blocked: their link is one row all the same."""
    pairs = frame.select(
        pl.min_horizontal(a, b).alias("low"), pl.max_horizontal(a, b).alias("high"), pl.col(a, b)
    ).with_row_index("row")
    pairs = pairs.filter(pl.col(a).is_not_null() & pl.col(b).is_not_null())
    for end in ("low", "high"):
        pairs = pairs.filter(is_blocked(pairs.get_column(end), vocabulary))
    names = pairs.select(pl.concat_str("low", "high", separator=" ")).to_series()
    return pairs.get_column("row").cast(pl.Int32).to_numpy(), node_hash(names, "blocked/")


def find_nodes(frame: pl.DataFrame, name: str, vocabulary: Vocabulary) -> Nodes:
    """Find what facts of a type name; a blocked identifier connects nothing by itself.

    Args:
        frame: facts with the columns of their contract.
        name: their type.
        vocabulary: says what is blocked.
    """
    parts = _named(frame, name, vocabulary)
    if name == "touchpoint":
        lists = frame.get_column("identifiers")
        lengths = lists.list.len().fill_null(0).to_numpy()
        rows = np.repeat(np.arange(frame.height, dtype=np.int32), lengths)
        texts = lists.filter(pl.Series(lengths > 0)).explode(empty_as_null=False)
        distinct = texts.unique()
        blocked = distinct.filter(is_blocked(distinct, vocabulary))
        if len(blocked):
            usable = ~texts.is_in(blocked.implode())
            rows, texts = rows[usable.to_numpy()], texts.filter(usable)
        parts.append((rows, node_hash(texts)))
    if name in _PAIRS:
        parts.append(_blocked_pairs(frame, *_PAIRS[name], vocabulary))
    keys = node_hash(frame.get_column("event_id"), "fact/")
    if not parts:
        return Nodes(keys, np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.uint64))
    return Nodes(
        keys, np.concatenate([rows for rows, _ in parts]), np.concatenate([names for _, names in parts])
    )


@numba.njit(cache=True)
def _add(
    table: Int32Array, keys: UInt64Array, parent: Int32Array, count: int, key: np.uint64
) -> tuple[int, int]:
    """Give the key's place, adding it where it is new, and how many there are now."""
    slot = slot_of(table, keys, key)
    if table[slot] < 0:
        table[slot] = count
        keys[count] = key
        parent[count] = count
        return count, count + 1
    return table[slot], count


@numba.njit(cache=True)
def _root(parent: Int32Array, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@numba.njit(cache=True)
def _connect(
    table: Int32Array,
    keys: UInt64Array,
    parent: Int32Array,
    named: BoolArray,
    count: int,
    facts: UInt64Array,
    rows: Int32Array,
    names: UInt64Array,
) -> int:
    for key in facts:
        _, count = _add(table, keys, parent, count, key)
    for place in range(len(rows)):
        fact, count = _add(table, keys, parent, count, facts[rows[place]])
        name, count = _add(table, keys, parent, count, names[place])
        named[name] = True
        one, other = _root(parent, fact), _root(parent, name)
        if one < other:
            parent[other] = one
        elif other < one:
            parent[one] = other
    return count


@numba.njit(cache=True)
def _labels(table: Int32Array, keys: UInt64Array, parent: Int32Array, asked: UInt64Array) -> UInt64Array:
    labels = np.empty(len(asked), dtype=np.uint64)
    for place in range(len(asked)):
        found = table[slot_of(table, keys, asked[place])]
        labels[place] = keys[_root(parent, found)] if found >= 0 else asked[place]
    return labels


class UnitFinder:
    """Connects facts batch by batch, then labels each with its unit: the hash of one of its nodes."""

    def __init__(self, room: int = 1 << 12) -> None:
        self._table = np.full(2 * room, -1, dtype=np.int32)
        self._keys = np.empty(room, dtype=np.uint64)
        self._parent = np.empty(room, dtype=np.int32)
        self._named = np.zeros(room, dtype=np.bool_)
        self._count = 0

    def _make_room(self, more: int) -> None:
        needed = self._count + more
        room = len(self._keys)
        if needed <= room:
            return
        while room < needed:
            room *= 2
        self._keys = np.resize(self._keys, room)
        self._parent = np.resize(self._parent, room)
        self._named = np.concatenate([self._named, np.zeros(room - len(self._named), dtype=np.bool_)])
        self._table = rehash(self._keys, self._count, 2 * room)

    def add(self, nodes: Nodes) -> None:
        """Connect each fact with what it names."""
        self._make_room(len(nodes.keys) + len(nodes.names))
        self._count = _connect(
            self._table,
            self._keys,
            self._parent,
            self._named,
            self._count,
            nodes.keys,
            nodes.rows,
            nodes.names,
        )

    def join(self, one: UInt64Array, other: UInt64Array) -> None:
        """Connect pairs of nodes."""
        self.add(Nodes(one, np.arange(len(one), dtype=np.int32), other))

    def labels(self, asked: UInt64Array) -> UInt64Array:
        """Give the unit of each node; one that no fact names is a unit of its own."""
        labels: UInt64Array = _labels(self._table, self._keys, self._parent, asked)
        return labels

    def nodes(self) -> UInt64Array:
        """Give every node, facts' own ones too."""
        return self._keys[: self._count]

    def named(self) -> UInt64Array:
        """Give every node that a fact names; facts' own nodes only where another fact names them."""
        return self._keys[: self._count][self._named[: self._count]]
