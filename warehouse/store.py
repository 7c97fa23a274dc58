"""The store: the facts that stand, the unit of work of each, and what has been stitched so far.

Nobody reads it but the pipeline. `Store` is what every kind of store can do; `warehouse.embedded` keeps it in a DuckDB
file, `warehouse.postgres` in a PostgreSQL database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from milepost import path_models
from milepost.facts import working_schema

UInt64Array = npt.NDArray[np.uint64]

#: Raised with every change of the store's own tables; a change comes with a migration in every kind of store.
STORE_VERSION = 2

#: What a fact has in the store beside the columns of its contract: its unit of work, the hash that it is looked up by,
#: and the version of the mapping that made it where it came by stream (NULL where a bus file says it).
MARKS = {"unit": pl.UInt64(), "key": pl.UInt64(), "mapping_version": pl.String()}

#: Counts of paths over all subjects, see `milepost.path_models.PATH_COUNTS`.
PATH_COUNTS = dict(path_models.PATH_COUNTS)

#: Customers whose journeys changed, in the order in which that was published.
OUTBOX = pl.Schema({"sequence": pl.Int64(), "customer_id": pl.String(), "publication_id": pl.String()})

#: Of each topic and partition, the offset of the next message to read.
Offsets = Mapping[tuple[str, int], int]


class StoreVersionError(RuntimeError):
    """The store was written by a newer Milepost."""


def fact_columns(name: str) -> dict[str, pl.DataType]:
    """Give the columns of a table of facts in the store; what a fact was made from stays on the bus."""
    return {**working_schema(name), **MARKS}


def newer_store(where: str, version: int, elsewhere: str) -> StoreVersionError:
    """Give the error for a store that a newer Milepost wrote; `elsewhere` says how to use another one."""
    return StoreVersionError(
        f"The store {where} is of version {version}; this Milepost knows versions up to {STORE_VERSION}. "
        f"Install the newer Milepost that wrote it, or {elsewhere}. Nothing was changed."
    )


class Store(Protocol):
    """A store. Changes are made inside `transaction`."""

    def close(self) -> None:
        """Let go of it."""

    def transaction(self) -> AbstractContextManager[None]:
        """Make what is done inside happen whole, or not at all.

        Inside a transaction of the warehouse, it is part of that where the two are one database.
        """

    # What was done so far

    def state(self, name: str) -> str | None:
        """Give a value that a run left."""

    def set_state(self, name: str, value: str | None) -> None:
        """Leave a value for later runs; None takes it away."""

    def note_publication(self, publication_id: str) -> None:
        """Note in the open transaction that a publication is under way.

        Where the warehouse commits by itself, a run that finds the note knows that the two may differ.
        """

    def forget_publication(self) -> None:
        """Take the note away: the warehouse has committed too."""

    def is_torn(self) -> bool:
        """Say whether a publication died between the store's commit and the warehouse's."""

    def stitched_files(self) -> set[str]:
        """Name the bus files whose facts are in the store."""

    def add_stitched_files(self, names: Sequence[str]) -> None:
        """Remember bus files as stitched."""

    def offsets(self) -> dict[tuple[str, int], int]:
        """Give, by topic and partition, the offset of the first message whose facts are not in the store."""

    def set_offsets(self, offsets: Offsets) -> None:
        """Replace the offsets of these topics and partitions."""

    def fact_count(self) -> int:
        """Count the facts that stand."""

    # Customers whose journeys changed

    def add_to_outbox(self, publication_id: str, customer_ids: pl.Series) -> None:
        """Add customers whose journeys a publication changes, or takes away."""

    def outbox(self, limit: int) -> pl.DataFrame:
        """Give the oldest entries, see `OUTBOX`, at most so many."""

    def clear_outbox(self, up_to: int) -> None:
        """Take out the entries up to a sequence number, that one included."""

    # Facts and units

    def units_of(self, nodes: UInt64Array | None) -> pl.DataFrame:
        """Look nodes up, or give all, those of facts by their keys too: `node`, `unit` (UInt64) of known ones."""

    def load_facts(self, units: UInt64Array | None) -> dict[str, pl.DataFrame]:
        """Load the facts of units, or all, by type, with `MARKS`."""

    def streamed_facts(self, name: str) -> pl.DataFrame:
        """Load the facts of a type that came by stream, and so are in no file of the bus, with `MARKS`."""

    def insert_facts(self, name: str, paths: Sequence[Path]) -> None:
        """Add facts with `MARKS` from Parquet files; a column that no file has is NULL."""

    def delete_facts(self, name: str, event_ids: pl.Series) -> None:
        """Take facts out by event_id."""

    def relabel(self, old: UInt64Array, new: UInt64Array) -> None:
        """Merge units: what was of unit old[i] becomes of unit new[i]."""

    def insert_nodes(self, nodes: UInt64Array, units: UInt64Array) -> None:
        """Add nodes with their units."""

    def emptied(self) -> AbstractContextManager[None]:
        """Take everything out that a rebuild makes anew, which it adds inside; offsets and outbox stay."""

    # Path counts

    def path_counts(self) -> pl.DataFrame:
        """Give the counts of paths over all subjects, see `PATH_COUNTS`."""

    def set_path_counts(self, counts: pl.DataFrame) -> None:
        """Replace the counts of paths."""
