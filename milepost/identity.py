"""Identity: which identifiers are one customer, by links, with protections against shared and conflicting ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from milepost.links import Identifiers, Int32Array, Links
from schemas.vocabulary import Vocabulary

BoolArray = npt.NDArray[np.bool_]

#: Codes of a link's status, as places in `STATUSES`.
STATUSES = ("joined", "refused", "shared")
JOINED, REFUSED, SHARED = range(3)


@dataclass(frozen=True, eq=False)
class Identity:
    """Customers as sets of identifiers.

    `best[i]` is the code of the best identifier of identifier i's customer: it stands for the customer.
    `shared[i]` says whether identifier i is shared. `status` and `conflict` belong to the links: the status
    code, and of a refused one the place of the unique namespace that conflicts (else -1).
    """

    best: Int32Array
    shared: BoolArray
    status: npt.NDArray[np.int8]
    conflict: npt.NDArray[np.int8]


@numba.njit(cache=True)
def _find(parent: Int32Array, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@numba.njit(cache=True)
def join_all(size: int, a: Int32Array, b: Int32Array) -> Int32Array:
    """Union-find without rules: give each of `size` nodes the smallest node that links connect it with."""
    parent = np.arange(size, dtype=np.int32)
    for link in range(len(a)):
        one, other = _find(parent, a[link]), _find(parent, b[link])
        if one < other:
            parent[other] = one
        elif other < one:
            parent[one] = other
    for node in range(size):
        parent[node] = _find(parent, node)
    return parent


@numba.njit(cache=True)
def _join_in_order(
    size: int, a: Int32Array, b: Int32Array, unique_place: npt.NDArray[np.int8], places: int
) -> tuple[Int32Array, npt.NDArray[np.int8]]:
    """Join links in their order, refusing a join that would give a customer two values of a unique namespace."""
    parent = np.arange(size, dtype=np.int32)
    value = np.full((size, max(places, 1)), -1, dtype=np.int32)
    for node in range(size):
        if unique_place[node] >= 0:
            value[node, unique_place[node]] = node
    conflict = np.full(len(a), -1, dtype=np.int8)
    for link in range(len(a)):
        one, other = _find(parent, a[link]), _find(parent, b[link])
        if one == other:
            continue
        for place in range(places):
            if value[one, place] >= 0 and value[other, place] >= 0:
                conflict[link] = place
                break
        if conflict[link] >= 0:
            continue
        low, high = min(one, other), max(one, other)
        parent[high] = low
        for place in range(places):
            if value[low, place] < 0:
                value[low, place] = value[high, place]
    for node in range(size):
        parent[node] = _find(parent, node)
    return parent, conflict


def find_shared(identifiers: Identifiers, links: Links, vocabulary: Vocabulary) -> BoolArray:
    """Say of each identifier whether it is shared.

    It is, where it is directly linked to more than its namespace's `max_links` distinct values of one unique
    namespace. `links` holds all links of the identifiers asked about.
    """
    limits = np.array(
        [-1 if n.max_links is None else n.max_links for n in vocabulary.namespaces.values()] + [-1],
        dtype=np.int64,
    )
    limit = limits[identifiers.rank]
    shared = np.zeros(len(identifiers.rank), dtype=np.bool_)
    for rank, namespace in enumerate(vocabulary.namespaces.values()):
        if namespace.unique:
            counted = [
                one[identifiers.rank[other] == rank]
                for one, other in ((links.a, links.b), (links.b, links.a))
            ]
            values = np.bincount(np.concatenate(counted), minlength=len(shared))
            shared |= (limit >= 0) & (values > limit)
    return shared


def resolve(identifiers: Identifiers, links: Links, shared: BoolArray, vocabulary: Vocabulary) -> Identity:
    """Join identifiers into customers.

    Joins go in order of (first_seen_at, event_id, a, b); that order only matters where unique values conflict,
    so all other clusters are joined without it.
    """
    size = len(identifiers.rank)
    touches_shared = shared[links.a] | shared[links.b]
    status = np.where(touches_shared, SHARED, JOINED).astype(np.int8)
    conflict = np.full(len(links.a), -1, dtype=np.int8)
    joins = np.flatnonzero(~touches_shared)
    best = join_all(size, links.a[joins], links.b[joins])

    unique_ranks = [rank for rank, n in enumerate(vocabulary.namespaces.values()) if n.unique]
    unique_place = np.full(size, -1, dtype=np.int8)
    in_conflict = np.zeros(size, dtype=np.bool_)
    for place, rank in enumerate(unique_ranks):
        holders = np.flatnonzero(identifiers.rank == rank)
        unique_place[holders] = place
        in_conflict |= np.bincount(best[holders], minlength=size) > 1
    disputed = joins[in_conflict[best[links.a[joins]]]]
    if len(disputed):
        order = _order_of_joining(identifiers, links, disputed)
        apart = in_conflict[best]
        nodes = np.flatnonzero(apart)
        local = np.full(size, -1, dtype=np.int32)
        local[nodes] = np.arange(len(nodes), dtype=np.int32)
        roots, refusals = _join_in_order(
            len(nodes), local[links.a[order]], local[links.b[order]], unique_place[nodes], len(unique_ranks)
        )
        best[nodes] = nodes[roots]
        conflict[order] = refusals
        status[order[refusals >= 0]] = REFUSED
    return Identity(best, shared, status, conflict)


def _order_of_joining(
    identifiers: Identifiers, links: Links, disputed: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    frame = pl.DataFrame(
        {
            "link": disputed,
            "first_seen_at": links.first_seen_at[disputed],
            "event_id": links.event_id.gather(disputed),
            "a": identifiers.names.gather(links.a[disputed]),
            "b": identifiers.names.gather(links.b[disputed]),
        }
    )
    return frame.sort("first_seen_at", "event_id", "a", "b").get_column("link").to_numpy()


@lru_cache(maxsize=1 << 17)
def _customer_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def customer_ids(names: pl.Series) -> pl.Series:
    """Give the id that each identifier (`namespace:value`) would give: 32 hexadecimal digits of its SHA-256."""
    # Batch after batch asks for many of the same ones.
    return pl.Series("customer_id", list(map(_customer_id, names.to_list())), pl.String)


def link_rows(
    identifiers: Identifiers, links: Links, identity: Identity, vocabulary: Vocabulary
) -> pl.DataFrame:
    """Give the unblocked links as rows of table `identity_links`."""
    unique = [name for name, namespace in vocabulary.namespaces.items() if namespace.unique]
    shared_a, shared_b = identity.shared[links.a], identity.shared[links.b]
    frame = pl.DataFrame(
        {
            "a": identifiers.names.gather(links.a),
            "b": identifiers.names.gather(links.b),
            "first_seen_at": pl.Series(links.first_seen_at).cast(pl.Datetime("us", "UTC")),
            "event_id": links.event_id,
            "status": pl.Series(identity.status.astype(np.uint32)),
            "conflict": identity.conflict,
            "shared_a": shared_a,
            "shared_b": shared_b,
        }
    )
    refused = pl.col("conflict").replace_strict(
        {place: f"two values of {name}" for place, name in enumerate(unique)},
        default=None,
        return_dtype=pl.String,
    )
    return frame.select(
        "a",
        "b",
        "first_seen_at",
        "event_id",
        pl.col("status").replace_strict(dict(enumerate(STATUSES)), return_dtype=pl.String).alias("status"),
        pl.when("shared_a")
        .then(pl.lit("shared: a"))
        .when("shared_b")
        .then(pl.lit("shared: b"))
        .otherwise(refused)
        .alias("reason"),
    )
