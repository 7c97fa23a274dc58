"""Publication: the staged rows into store and warehouse, so that a crash anywhere costs a repeat and nothing else.

The order is: the warehouse's transaction is filled and audited, and stays open; the store changes, with a note that a
publication is under way; the warehouse's transaction is committed; the note is taken away. A run
that finds the note rebuilds, so store and warehouse agree again. Where both are one database, they change in one
transaction, and there is no note.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import polars as pl

from milepost import __version__
from milepost.path_models import channel_credits
from milepost.stitch import shaped
from milepost.unit_fold import FATES, QUARANTINED, REJECTED
from pipelines.mapping_versions import REBUILD
from pipelines.staging import Staging, read_whole
from pipelines.stitch_rebuild import StitchSettings
from schemas.contracts import FACT_TYPES
from schemas.tables import load_tables
from warehouse.audit import AuditResult, combine_violations, judge
from warehouse.audit.whole import Touched, count_whole_violations, planned_whole_laws
from warehouse.places import Places, Warehouse
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


@dataclass(frozen=True)
class StitchReport:
    """What a stitch did.

    `mode` is `rebuild`, `increment` or `nothing`; `reasons` say why a rebuild was needed. `fates` counts the facts
    of the run (`source`, `fate`, `facts`); `rejected` and `quarantined` are its dead letters and what row-level
    expectations set aside; `publication` and `audit` are None where there was nothing to do.
    """

    mode: str
    reasons: tuple[str, ...]
    fates: pl.DataFrame
    rejected: pl.DataFrame
    quarantined: pl.DataFrame
    publication: Publication | None
    audit: AuditResult | None


#: Told, before anything is published, what is rejected and quarantined: a run that dies behind that finds the facts
#: stitched, and does not reject them again. It may be told the same twice.
Record = Callable[[Warehouse, StitchReport], None]


class AuditWithheldError(Exception):
    """An audit withheld the publication: the old one stays readable, and a later run takes the facts up again."""

    def __init__(self, report: StitchReport) -> None:
        self.report = report
        audit = report.audit
        failures = [] if audit is None else audit.failures
        listed = "; ".join(
            f"{f.table}: {f.doc} ({', such as '.join([f'{f.unexpected_count:,} rows', *f.examples[:1]])})"
            for f in failures
        )
        super().__init__(f"The audit withheld the publication: {listed}")


@dataclass(frozen=True)
class Change:
    """What a publication records beside the staged rows.

    `files` are the bus files, and `offsets` where the topics stand, whose facts are in the store with it. `reasons`
    say why everything was folded again; none where only what new facts touch was. With `announce`, the customers
    whose journeys change go to the outbox.
    """

    published_at: datetime
    rules_hash: str
    files: tuple[str, ...] = ()
    offsets: Mapping[tuple[str, int], int] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    announce: bool = False

    @property
    def rebuild(self) -> bool:
        """Everything was folded again."""
        return bool(self.reasons)


def publish_staged(
    places: Places,
    settings: StitchSettings,
    change: Change,
    *,
    whole: bool = True,
    step: Step = lambda _: None,
    record: Record = lambda *_: None,
) -> StitchReport:
    """Audit what is staged, and publish it.

    Args:
        places: open ones, of which nothing is under way.
        settings: of the run; its staging holds the rows.
        change: what is recorded with them.
        whole: ask laws of the whole of all rows, rather than of those that an increment touches, and keep every
            result of the audit, rather than the failed ones.
        step: told of each step, before it is taken: `warehouse`, `audit`, `store`, `commit`, `done`.
        record: told what is rejected and quarantined.

    Raises:
        AuditWithheldError: a critical expectation failed; nothing was published.
    """
    publication = _publication(settings.staging, change)
    record(places.warehouse, stitch_report(settings, change, publication))
    with places.warehouse.transaction():
        step("warehouse")
        customers = _changed_customers(settings.staging, places.warehouse, change)
        fill_warehouse(settings, places.warehouse, rebuild=change.rebuild)
        step("audit")
        result = audit(settings, places.warehouse, None if whole else _touched(settings.staging))
        report = stitch_report(settings, change, publication, result)
        if not result.passed:
            raise AuditWithheldError(report)
        step("store")
        with places.store.transaction():
            fill_store(settings, places.store, publication, change)
            places.store.add_to_outbox(publication.publication_id, customers)
        publication = replace(publication, facts=places.store.fact_count())
        places.warehouse.sign(_publication_row(publication, result, whole=whole), publication.published_at)
        step("commit")
    step("done")
    places.store.forget_publication()
    return replace(report, publication=publication)


def _publication(staging: Staging, change: Change) -> Publication:
    by_source: dict[str, dict[str, int]] = {}
    for source, fate, facts in staged_fates(staging).iter_rows():
        by_source.setdefault(source, {})[fate] = facts
    return Publication(f"p-{uuid.uuid4().hex}", change.published_at, change.rules_hash, by_source, facts=0)


def stitch_report(
    settings: StitchSettings,
    change: Change,
    publication: Publication | None = None,
    result: AuditResult | None = None,
) -> StitchReport:
    """Say what a stitch did, from what it staged."""
    mode = "nothing" if publication is None else "rebuild" if change.rebuild else "increment"
    staging = settings.staging
    return StitchReport(
        mode,
        change.reasons,
        staged_fates(staging),
        staged_rejected(staging),
        staged_quarantined(staging),
        publication,
        result,
    )


def _changed_customers(staging: Staging, warehouse: Warehouse, change: Change) -> pl.Series:
    """Name the customers whose journeys change or go, before the tables do."""
    if not change.announce:
        return pl.Series(dtype=pl.String)
    if change.rebuild:
        coming = [read_whole(path).get_column("customer_id") for path in staging.files("tables", "journeys")]
        return pl.concat([*coming, warehouse.column("journeys", "customer_id")])
    return pl.concat(_staged_keys(staging, "journeys", "customer_id"))


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


def audit(settings: StitchSettings, warehouse: Warehouse, touched: Touched | None = None) -> AuditResult:
    """Judge what was counted in the staged rows, and the laws of the whole as the open transaction sees the tables.

    `touched` keeps to what an increment changes.
    """
    staging = settings.staging
    planned = [
        name for path in staging.files("planned") for name in read_whole(path).get_column("expectation")
    ]
    counted = [read_whole(path) for path in staging.files("violations")]
    counted.append(count_whole_violations(warehouse, settings.vocabulary, touched))
    return judge(combine_violations(counted), sorted({*planned, *planned_whole_laws()}))


def _touched(staging: Staging) -> Touched:
    """Name the spend, and the touchpoints that go, that an increment's laws of the whole depend on."""
    spend = [
        *_staged_keys(staging, "spend", "event_id"),
        *_staged_keys(staging, "spend_shares", "spend_id"),
    ]
    gone = _staged_gone(staging, "touchpoints", "event_id")
    return Touched(pl.concat([pl.Series(dtype=pl.String), *spend]), gone)


def _staged_keys(staging: Staging, name: str, column: str) -> list[pl.Series]:
    """Give a column of the key of rows that come, change or go."""
    coming = [read_whole(path).get_column(column) for path in staging.files("tables", name)]
    return [*coming, _staged_gone(staging, name, column)]


def _staged_gone(staging: Staging, name: str, column: str) -> pl.Series:
    path = staging.path("gone", name)
    return read_whole(path).get_column(column) if path.exists() else pl.Series(dtype=pl.String)


def _summed_path_counts(staging: Staging) -> pl.DataFrame:
    """Sum the parts' counts of paths."""
    counts = staging.read("path_counts", schema=pl.Schema(PATH_COUNTS))
    return counts.group_by("currency", "path").agg(pl.col("conversions").sum(), pl.col("amount_micros").sum())


def stage_channel_credits(settings: StitchSettings) -> None:
    """Sum the shards' counts of paths, and stage the credits of channels that follow."""
    staging = settings.staging
    credited = shaped("channel_credits", channel_credits(_summed_path_counts(staging), settings.rules))
    staging.write_whole(credited, "tables", "channel_credits", "all")


def fill_store(settings: StitchSettings, store: Store, publication: Publication, change: Change) -> None:
    """Change the store to what is staged, in the transaction that is open."""
    staging = settings.staging
    store.note_publication(publication.publication_id)
    with store.emptied() if change.rebuild else nullcontext():
        for path in staging.files("gone_facts"):
            store.delete_facts(path.name, read_whole(path).get_column("event_id"))
        for name in FACT_TYPES:
            store.insert_facts(name, staging.files("facts", name))
        _change_rest(staging, store)
        store.add_stitched_files(change.files)
    store.set_offsets(change.offsets)
    store.set_state("rules_hash", publication.rules_hash)
    if change.rebuild:
        store.set_state(REBUILD, None)


def _change_rest(staging: Staging, store: Store) -> None:
    """Merge units, add nodes, and replace the counts of paths."""
    if staging.files("merged"):
        store.relabel(np.load(staging.path("merged", "old.npy")), np.load(staging.path("merged", "new.npy")))
    if staging.files("named"):
        store.insert_nodes(
            np.load(staging.path("named", "nodes.npy")), np.load(staging.path("named", "units.npy"))
        )
    store.set_path_counts(_summed_path_counts(staging).filter(pl.col("conversions") != 0))


def fill_warehouse(settings: StitchSettings, warehouse: Warehouse, *, rebuild: bool) -> None:
    """Change the tables to what is staged, in the transaction that is open."""
    staging = settings.staging
    warehouse.create(settings.vocabulary)
    for name in PUBLISHED:
        rows = staging.files("tables", name)
        # Channel credits are few, and every one may change with any conversion.
        if rebuild or name == "channel_credits":
            warehouse.replace_rows(name, rows)
            continue
        gone = staging.path("gone", name)
        if gone.exists():
            warehouse.delete_keys(name, read_whole(gone))
        warehouse.insert_files(name, rows)


def _publication_row(publication: Publication, result: AuditResult, *, whole: bool) -> pl.DataFrame:
    row = {
        "publication_id": publication.publication_id,
        "published_at": publication.published_at,
        "facts": publication.facts,
        "fates": json.dumps(publication.fates, sort_keys=True),
        "audit_result": result.verdict,
        "audit": result.to_json(whole=whole),
        "rules_hash": publication.rules_hash,
        "digest": None,
        "version": __version__,
    }
    return pl.DataFrame([row], schema=load_tables()["publications"].polars_schema)
