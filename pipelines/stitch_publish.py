"""Publication: the staged rows into store and warehouse, so that a crash anywhere costs a repeat and nothing else.

The order is: the warehouse's transaction is filled and audited, and stays open; the store changes, with a note that a
publication is under way; the warehouse's transaction is committed; the note is taken away. A run
that finds the note rebuilds, so store and warehouse agree again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np
import polars as pl

from milepost import __version__
from milepost.path_models import channel_credits
from milepost.stitch import shaped
from milepost.unit_fold import FATES, QUARANTINED, REJECTED
from pipelines.staging import Staging, read_whole
from pipelines.stitch_rebuild import StitchSettings
from schemas.contracts import FACT_TYPES
from schemas.tables import load_tables
from warehouse.audit import AuditResult, combine_violations, judge
from warehouse.audit.whole import count_whole_violations, planned_whole_laws
from warehouse.definitions import (
    create_warehouse,
    insert_files,
    insert_frame,
    sql_types,
    without_time_zones,
)
from warehouse.store import PATH_COUNTS, Store

#: Tables that a publication fills; the others say how it came to be.
PUBLISHED = [name for name, table in load_tables().items() if table.digest]

#: A step of a publication has been done; tests kill the process there.
Step = Callable[[str], None]


@dataclass(frozen=True)
class Publication:
    """What a publication is about: its row in table `publications`."""

    publication_id: str
    published_at: datetime
    rules_hash: str
    fates: dict[str, dict[str, int]]
    facts: int


def staged_fates(staging: Staging) -> pl.DataFrame:
    """Sum the fates of the new facts: `source`, `fate`, `facts`."""
    fates = staging.read("fates", schema=FATES)
    return fates.group_by("source", "fate").agg(pl.col("facts").sum()).sort("source", "fate")


def staged_rejected(staging: Staging) -> pl.DataFrame:
    """Give the dead letters of the stitch, see `milepost.unit_fold.REJECTED`."""
    return staging.read("rejected", schema=REJECTED)


def staged_quarantined(staging: Staging) -> pl.DataFrame:
    """Give the facts set aside by row-level expectations."""
    return staging.read("quarantined", schema=QUARANTINED)


def audit(settings: StitchSettings, warehouse: duckdb.DuckDBPyConnection) -> AuditResult:
    """Judge what was counted in the staged rows, and the laws of the whole as the open transaction sees the tables."""
    staging = settings.staging
    planned = [
        name for path in staging.files("planned") for name in read_whole(path).get_column("expectation")
    ]
    counted = [read_whole(path) for path in staging.files("violations")]
    counted.append(count_whole_violations(warehouse, settings.vocabulary))
    return judge(combine_violations(counted), sorted({*planned, *planned_whole_laws()}))


def _summed_path_counts(staging: Staging) -> pl.DataFrame:
    """Sum the parts' counts of paths."""
    counts = staging.read("path_counts", schema=pl.Schema(PATH_COUNTS))
    return counts.group_by("currency", "path").agg(pl.col("conversions").sum(), pl.col("amount_micros").sum())


def stage_channel_credits(settings: StitchSettings) -> None:
    """Sum the shards' counts of paths, and stage the credits of channels that follow."""
    staging = settings.staging
    credited = shaped("channel_credits", channel_credits(_summed_path_counts(staging), settings.rules))
    staging.write_whole(credited, "tables", "channel_credits", "all")


def fill_store(
    settings: StitchSettings, store: Store, publication: Publication, files: list[str], *, rebuild: bool
) -> None:
    """Change the store to what is staged in one transaction, with a note of the publication under way."""
    staging = settings.staging
    with store.transaction():
        store.set_state("publishing", publication.publication_id)
        if rebuild:
            store.clear()
        for path in staging.files("gone_facts"):
            store.delete_facts(path.name, read_whole(path).get_column("event_id"))
        for name in FACT_TYPES:
            store.insert_facts(name, staging.files("facts", name))
        _change_rest(staging, store)
        store.add_stitched_files(files)
        store.set_state("rules_hash", publication.rules_hash)


def _change_rest(staging: Staging, store: Store) -> None:
    """Merge units, add nodes, and replace the counts of paths."""
    if staging.files("merged"):
        store.relabel(np.load(staging.path("merged", "old.npy")), np.load(staging.path("merged", "new.npy")))
    if staging.files("named"):
        store.insert_nodes(
            np.load(staging.path("named", "nodes.npy")), np.load(staging.path("named", "units.npy"))
        )
    store.set_path_counts(_summed_path_counts(staging).filter(pl.col("conversions") != 0))


def fill_warehouse(settings: StitchSettings, warehouse: duckdb.DuckDBPyConnection, *, rebuild: bool) -> None:
    """Change the tables to what is staged, in the transaction that is open."""
    tables = load_tables()
    create_warehouse(warehouse, settings.vocabulary)
    for name in PUBLISHED:
        _delete_gone(settings.staging, warehouse, name, rebuild=rebuild)
        files = settings.staging.files("tables", name)
        insert_files(warehouse, f"journey.{name}", sql_types(tables[name]), files)


def sign(warehouse: duckdb.DuckDBPyConnection, publication: Publication, result: AuditResult) -> None:
    """Write the publication's row, and the present that views read, in the transaction that is open."""
    insert_frame(warehouse, load_tables()["publications"], _publication_row(publication, result))
    warehouse.execute("DELETE FROM journey.clock")
    warehouse.execute("INSERT INTO journey.clock VALUES (?)", [publication.published_at.replace(tzinfo=None)])


def _delete_gone(staging: Staging, warehouse: duckdb.DuckDBPyConnection, name: str, *, rebuild: bool) -> None:
    # Channel credits are few, and every one may change with any conversion.
    if rebuild or name == "channel_credits":
        warehouse.execute(f"TRUNCATE journey.{name}")
        return
    path = staging.path("gone", name)
    if path.exists():
        _delete_keys(warehouse, name, read_whole(path))


def _delete_keys(warehouse: duckdb.DuckDBPyConnection, name: str, keys: pl.DataFrame) -> None:
    matches = " AND ".join(f'rows."{column}" = gone."{column}"' for column in load_tables()[name].key)
    warehouse.register("gone", without_time_zones(keys).to_arrow())
    try:
        warehouse.execute(f"DELETE FROM journey.{name} AS rows USING gone WHERE {matches}")  # noqa: S608
    finally:
        warehouse.unregister("gone")


def record_dead_letters(warehouse: duckdb.DuckDBPyConnection, letters: pl.DataFrame) -> None:
    """Write dead letters outside of any publication, so that they show even where an audit withholds one.

    Args:
        warehouse: the working copy.
        letters: with the columns of `dead_letter.avsc`; one that is there already keeps its status.
    """
    table = load_tables()["dead_letters"]
    warehouse.register("letters", without_time_zones(letters.select("dead_letter_id")).to_arrow())
    try:
        known = warehouse.sql(
            "SELECT dead_letter_id FROM journey.dead_letters SEMI JOIN letters USING (dead_letter_id)"
        )
        new = letters.join(known.pl(), on="dead_letter_id", how="anti").unique("dead_letter_id")
    finally:
        warehouse.unregister("letters")
    insert_frame(warehouse, table, new.with_columns(pl.lit("open").alias("status")))


def _publication_row(publication: Publication, result: AuditResult) -> pl.DataFrame:
    results = [one.model_dump(mode="json") for one in result.results]
    row = {
        "publication_id": publication.publication_id,
        "published_at": publication.published_at,
        "facts": publication.facts,
        "fates": json.dumps(publication.fates, sort_keys=True),
        "audit_result": "passed_with_warnings" if result.warnings else "passed",
        "audit": json.dumps(results),
        "rules_hash": publication.rules_hash,
        "digest": None,
        "version": __version__,
    }
    return pl.DataFrame([row], schema=load_tables()["publications"].polars_schema)
