"""Links: which identifiers the facts say belong together, and when they first said so."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from milepost.units import is_blocked, node_hash
from schemas.vocabulary import Vocabulary

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NO_IDENTIFIER = -1


@dataclass(frozen=True, eq=False)
class Identifiers:
    """Every identifier that facts name, coded so that a smaller code is a better identifier.

    Codes are places in `names` (String, `namespace:value`), which is sorted by (namespace rank, value).
    `rank` is each one's namespace rank, `blocked` whether the blocklist blocks it.
    """

    names: pl.Series
    rank: npt.NDArray[np.int8]
    blocked: BoolArray

    def codes(self, identifiers: pl.Series) -> Int32Array:
        """Look codes up; `NO_IDENTIFIER` for null and for names that no fact has."""
        if not len(identifiers):
            return np.zeros(0, dtype=np.int32)
        table = pl.DataFrame({"name": self.names}).with_row_index("code")
        found = pl.DataFrame({"name": identifiers}).join(table, on="name", how="left", maintain_order="left")
        return found.get_column("code").cast(pl.Int64).fill_null(NO_IDENTIFIER).cast(pl.Int32).to_numpy()


@numba.njit(cache=True)
def _number(hashes: npt.NDArray[np.uint64]) -> tuple[Int32Array, Int32Array]:
    """Number equal hashes: give each number's first place, and the number of each place."""
    size = 16
    while size < 2 * len(hashes):
        size *= 2
    slots = np.full(size, -1, dtype=np.int32)
    first = np.empty(len(hashes), dtype=np.int32)
    numbers = np.empty(len(hashes), dtype=np.int32)
    count = 0
    mask = size - 1
    for place in range(len(hashes)):
        slot = np.int64(hashes[place] >> np.uint64(7)) & mask
        while slots[slot] >= 0 and hashes[first[slots[slot]]] != hashes[place]:
            slot = (slot + 1) & mask
        if slots[slot] < 0:
            slots[slot] = count
            first[count] = place
            count += 1
        numbers[place] = slots[slot]
    return first[:count].copy(), numbers


def _distinct_names(names: pl.Series) -> tuple[pl.Series, Int32Array]:
    """Give the distinct names in some order, and the place of each name among them."""
    first, numbers = _number(node_hash(names))
    distinct = names.gather(first)
    if (distinct.gather(numbers) == names).all():
        return distinct, numbers
    # Two names have one hash, which is all but impossible: compare the names themselves.
    distinct = names.unique()
    places = pl.DataFrame({"name": distinct}).with_row_index("place")
    found = pl.DataFrame({"name": names}).join(places, on="name", how="left", maintain_order="left")
    return distinct, found.get_column("place").cast(pl.Int32).to_numpy()


def code_identifiers(names: pl.Series, vocabulary: Vocabulary) -> tuple[Identifiers, Int32Array]:
    """Code identifiers.

    Args:
        names: String, `namespace:value`, with repeats, without nulls.
        vocabulary: gives namespaces their rank, and the blocklist.

    Returns:
        The identifiers, and the code of each name.
    """
    distinct, numbers = _distinct_names(names)
    frame = (
        pl.DataFrame({"name": distinct})
        .with_row_index("place")
        .with_columns(
            pl.col("name")
            .str.extract(r"^([^:]*):")
            .replace_strict(
                vocabulary.namespace_rank, default=len(vocabulary.namespaces), return_dtype=pl.Int8
            )
            .alias("rank")
        )
    )
    # One namespace at a time: sorting by one column of strings is far cheaper than by two columns.
    parts = [part.sort("name") for _, part in sorted(frame.partition_by("rank", as_dict=True).items())]
    frame = pl.concat(parts) if parts else frame
    code_of = np.empty(frame.height, dtype=np.int32)
    code_of[frame.get_column("place").to_numpy()] = np.arange(frame.height, dtype=np.int32)
    ordered = frame.get_column("name")
    identifiers = Identifiers(
        ordered, frame.get_column("rank").to_numpy(), is_blocked(ordered, vocabulary).to_numpy()
    )
    return identifiers, code_of[numbers]


@dataclass(frozen=True, eq=False)
class TouchIdentifiers:
    """The usable identifiers of touchpoints: those of row i are `codes[starts[i]:starts[i + 1]]`, best first."""

    starts: Int64Array
    codes: Int32Array

    @property
    def owners(self) -> Int32Array:
        """Give each touchpoint's owner, `NO_IDENTIFIER` where it has no usable identifier."""
        owners = np.full(len(self.starts) - 1, NO_IDENTIFIER, dtype=np.int32)
        filled = self.starts[1:] > self.starts[:-1]
        owners[filled] = self.codes[self.starts[:-1][filled]]
        return owners


@numba.njit(cache=True)
def _usable(starts: Int64Array, codes: Int32Array, blocked: BoolArray) -> tuple[Int64Array, Int32Array]:
    rows = len(starts) - 1
    out_starts = np.zeros(rows + 1, dtype=np.int64)
    out = np.empty(len(codes), dtype=np.int32)
    filled = 0
    for row in range(rows):
        begin = filled
        for place in range(starts[row], starts[row + 1]):
            code = codes[place]
            if blocked[code]:
                continue
            # Insertion keeps the few identifiers of a touchpoint sorted and each once.
            spot = filled
            while spot > begin and out[spot - 1] > code:
                spot -= 1
            if spot > begin and out[spot - 1] == code:
                continue
            for move in range(filled, spot, -1):
                out[move] = out[move - 1]
            out[spot] = code
            filled += 1
        out_starts[row + 1] = filled
    return out_starts, out[:filled].copy()


def named_identifiers(lists: pl.Series) -> pl.Series:
    """Give the identifiers that touchpoints name (List(String)), one after the other."""
    return lists.filter(lists.list.len() > 0).explode(empty_as_null=False)


def usable_identifiers(identifiers: Identifiers, lists: pl.Series, codes: Int32Array) -> TouchIdentifiers:
    """Take the usable identifiers of touchpoints.

    Args:
        identifiers: those that there are.
        lists: List(String), the identifiers of each touchpoint.
        codes: of `named_identifiers(lists)`.
    """
    lengths = lists.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    starts = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    return TouchIdentifiers(*_usable(starts, codes, identifiers.blocked))


@numba.njit(cache=True)
def _touch_sightings(
    starts: Int64Array, codes: Int32Array, rank: npt.NDArray[np.int8], limited: BoolArray
) -> tuple[Int32Array, Int32Array, Int32Array]:
    rows = len(starts) - 1
    room = 2 * max(len(codes) - rows, 0) + 2 * rows
    a = np.empty(room, dtype=np.int32)
    b = np.empty(room, dtype=np.int32)
    seen_in = np.empty(room, dtype=np.int32)
    filled = 0
    for row in range(rows):
        begin, end = starts[row], starts[row + 1]
        if end - begin < 2:
            continue
        owner = codes[begin]
        for place in range(begin + 1, end):
            a[filled], b[filled], seen_in[filled] = owner, codes[place], row
            filled += 1
        if limited[rank[owner]]:
            second = codes[begin + 1]
            for place in range(begin + 2, end):
                a[filled], b[filled], seen_in[filled] = second, codes[place], row
                filled += 1
    return a[:filled].copy(), b[:filled].copy(), seen_in[:filled].copy()


@numba.njit(cache=True)
def _first_sightings(
    a: Int32Array, b: Int32Array, seen_at: Int64Array
) -> tuple[Int32Array, Int32Array, Int64Array, Int32Array, BoolArray]:
    """Give the distinct pairs, their first time, the sighting that has it, and whether several do."""
    size = 16
    while size < 2 * len(a):
        size *= 2
    slots = np.full(size, -1, dtype=np.int32)
    pairs = np.empty(len(a), dtype=np.int32)
    first = np.empty(len(a), dtype=np.int32)
    tied = np.zeros(len(a), dtype=np.bool_)
    count = 0
    mask = size - 1
    for sighting in range(len(a)):
        key = (np.uint64(a[sighting]) << np.uint64(32)) | np.uint64(b[sighting])
        slot = np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
        while True:
            pair = slots[slot]
            if pair < 0:
                slots[slot] = count
                pairs[count] = sighting
                first[count] = sighting
                count += 1
                break
            known = pairs[pair]
            if a[known] == a[sighting] and b[known] == b[sighting]:
                if seen_at[sighting] < seen_at[first[pair]]:
                    first[pair] = sighting
                    tied[pair] = False
                elif seen_at[sighting] == seen_at[first[pair]]:
                    tied[pair] = True
                break
            slot = (slot + 1) & mask
    kept = pairs[:count]
    return a[kept], b[kept], seen_at[first[:count]], first[:count].copy(), tied[:count].copy()


@dataclass(frozen=True, eq=False)
class Links:
    """Distinct links between unblocked identifiers, `a` the better one, each with its first sighting.

    `first_seen_at` is in UTC microseconds; `event_id` (String) is the fact of the first sighting.
    """

    a: Int32Array
    b: Int32Array
    first_seen_at: Int64Array
    event_id: pl.Series


def _touches_as_links(
    touchpoints: pl.DataFrame,
    identifiers: Identifiers,
    touch_identifiers: TouchIdentifiers,
    vocabulary: Vocabulary,
) -> tuple[Int32Array, Int32Array, Int64Array, Int32Array]:
    limited = np.array([n.max_links is not None for n in vocabulary.namespaces.values()] + [False])
    a, b, row = _touch_sightings(touch_identifiers.starts, touch_identifiers.codes, identifiers.rank, limited)
    seen_at = touchpoints.get_column("occurred_at").cast(pl.Int64).to_numpy()[row]
    return a, b, seen_at, row


def find_links(
    touchpoints: pl.DataFrame,
    link_facts: pl.DataFrame,
    identifiers: Identifiers,
    touch_identifiers: TouchIdentifiers,
    vocabulary: Vocabulary,
    unlinked: pl.DataFrame,
) -> tuple[Links, pl.DataFrame]:
    """Collect the links that touchpoints carry and link facts state.

    Args:
        touchpoints: needs `event_id`, `occurred_at`; its rows are those of `touch_identifiers`.
        link_facts: needs `event_id`, `a`, `b`, `seen_at`.
        identifiers: codes of all identifiers named.
        touch_identifiers: the touchpoints' usable identifiers.
        vocabulary: says which namespaces have `max_links`.
        unlinked: pairs (`a`, `b`, String, in any order) that a retraction keeps apart; no link fact names them.

    Returns:
        The links, and the blocked link facts as rows of table `identity_links`.
    """
    a, b, seen_at, row = _touches_as_links(touchpoints, identifiers, touch_identifiers, vocabulary)
    fact_a, fact_b = (
        identifiers.codes(link_facts.get_column("a")),
        identifiers.codes(link_facts.get_column("b")),
    )
    fact_low, fact_high = np.minimum(fact_a, fact_b), np.maximum(fact_a, fact_b)
    usable = (
        ~(identifiers.blocked[fact_a] | identifiers.blocked[fact_b]) if len(fact_a) else np.zeros(0, bool)
    )
    stated = usable & (fact_a != fact_b)
    fact_seen = link_facts.get_column("seen_at").cast(pl.Int64).to_numpy()
    # Sightings of link facts follow those of touchpoints: `row` goes on counting.
    a = np.concatenate([a, fact_low[stated]])
    b = np.concatenate([b, fact_high[stated]])
    seen_at = np.concatenate([seen_at, fact_seen[stated]])
    row = np.concatenate([row, (np.flatnonzero(stated) + touchpoints.height).astype(np.int32)])
    if unlinked.height:
        keep = ~_is_unlinked(a, b, unlinked, identifiers)
        a, b, seen_at, row = a[keep], b[keep], seen_at[keep], row[keep]
    links = _distinct(a, b, seen_at, row, touchpoints, link_facts)
    blocked = (fact_a != fact_b) & ~usable
    return links, _blocked_rows(link_facts, fact_low, fact_high, blocked, identifiers)


def _is_unlinked(a: Int32Array, b: Int32Array, unlinked: pl.DataFrame, identifiers: Identifiers) -> BoolArray:
    one, other = identifiers.codes(unlinked.get_column("a")), identifiers.codes(unlinked.get_column("b"))
    pairs = np.minimum(one, other).astype(np.int64) << 32 | np.maximum(one, other)
    return np.isin(a.astype(np.int64) << 32 | b, pairs[(one >= 0) & (other >= 0)])


def _event_ids(row: Int32Array, touchpoints: pl.DataFrame, link_facts: pl.DataFrame) -> pl.Series:
    touches = touchpoints.get_column("event_id").gather(row[row < touchpoints.height])
    if not link_facts.height:
        return touches
    both = pl.concat([touchpoints.get_column("event_id"), link_facts.get_column("event_id")])
    return both.gather(row)


def _distinct(
    a: Int32Array,
    b: Int32Array,
    seen_at: Int64Array,
    row: Int32Array,
    touchpoints: pl.DataFrame,
    link_facts: pl.DataFrame,
) -> Links:
    pair_a, pair_b, first_seen_at, first, tied = _first_sightings(a, b, seen_at)
    event_id = _event_ids(row[first], touchpoints, link_facts)
    if tied.any():
        # Only where several sightings share the first time do the names of their facts decide.
        keys = pair_a[tied].astype(np.int64) << 32 | pair_b[tied]
        earliest = pl.DataFrame({"key": keys, "seen_at": first_seen_at[tied]})
        candidate = np.isin(a.astype(np.int64) << 32 | b, keys)
        smallest = (
            pl.DataFrame(
                {
                    "key": (a.astype(np.int64) << 32 | b)[candidate],
                    "seen_at": seen_at[candidate],
                    "event_id": _event_ids(row[candidate], touchpoints, link_facts),
                }
            )
            .join(earliest, on=["key", "seen_at"], how="semi")
            .group_by("key")
            .agg(pl.col("event_id").min())
        )
        chosen = earliest.join(smallest, on="key", how="left", maintain_order="left")
        event_id = event_id.scatter(np.flatnonzero(tied), chosen.get_column("event_id"))
    return Links(pair_a, pair_b, first_seen_at, event_id)


def _blocked_rows(
    link_facts: pl.DataFrame, low: Int32Array, high: Int32Array, blocked: BoolArray, identifiers: Identifiers
) -> pl.DataFrame:
    return (
        link_facts.filter(pl.Series(blocked, dtype=pl.Boolean))
        .select(
            identifiers.names.gather(low[blocked]).alias("a"),
            identifiers.names.gather(high[blocked]).alias("b"),
            pl.col("seen_at").alias("first_seen_at"),
            "event_id",
        )
        .sort("first_seen_at", "event_id")
        .unique(["a", "b"], keep="first", maintain_order=True)
        .with_columns(pl.lit("blocked").alias("status"), pl.lit("blocked identifier").alias("reason"))
    )
