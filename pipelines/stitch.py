"""Stitch: canonical facts on the bus become journeys in the warehouse. `_rebuild` and `_increment` are the diagrams."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import apache_beam as beam
import duckdb
import polars as pl
from apache_beam.options.pipeline_options import PipelineOptions

from connectors.bus import Bus
from milepost.rules import Rules
from pipelines.progress import Progress, listening
from pipelines.staging import Staging
from pipelines.stitch_increment import StitchIncrement
from pipelines.stitch_publish import (
    Publication,
    Step,
    audit,
    fill_store,
    fill_warehouse,
    sign,
    stage_channel_credits,
    staged_fates,
    staged_quarantined,
    staged_rejected,
)
from pipelines.stitch_rebuild import (
    Connect,
    Decode,
    FoldLedger,
    FoldShard,
    Partition,
    ShareSpend,
    StitchSettings,
)
from schemas.contracts import FACT_TYPES
from schemas.vocabulary import Vocabulary
from warehouse.audit import AuditResult
from warehouse.definitions import BULK_SETTINGS, create_warehouse, open_warehouse
from warehouse.store import Store

STORE_FILE = "store.duckdb"
WAREHOUSE_FILE = "journeys.duckdb"


@dataclass(frozen=True)
class FactFile:
    """A file of facts on the bus: the type of fact, a name that is its own, and where it is."""

    fact_type: str
    name: str
    path: str


def facts_on(bus: Bus) -> tuple[FactFile, ...]:
    """List the files of facts that stand on the bus.

    A file's size is part of its name: one that a broken source file left short is written again, longer, under its
    old name once the source can be read to its end.
    """
    return tuple(
        FactFile(fact_type, f"{fact_type}.{path.stem}.{path.stat().st_size}", str(path))
        for fact_type in FACT_TYPES
        for path in bus.current_files(fact_type)
    )


@dataclass(frozen=True)
class StitchRequest:
    """What a stitch works on: the home, all files of facts that stand on the bus, words, settings and their hash."""

    home: Path
    files: tuple[FactFile, ...]
    vocabulary: Vocabulary
    rules: Rules
    rules_hash: str
    published_at: datetime


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


def run_stitch(
    request: StitchRequest,
    *,
    rebuild: bool = False,
    options: Sequence[str] = (),
    progress: Progress | None = None,
    step: Step = lambda _: None,
    record: Callable[[StitchReport], None] = lambda _: None,
) -> StitchReport:
    """Stitch what is new on the bus, or everything, and publish it.

    Args:
        request: what to stitch.
        rebuild: fold everything again, whatever was done before.
        options: of Beam.
        progress: told of facts read and folded.
        step: told of each step of the publication, before it is taken.
        record: told what is rejected and quarantined, before anything is published: a run that dies behind that
            finds the facts stitched, and does not reject them again. It may be told the same twice.

    Raises:
        AuditWithheldError: a critical expectation failed; nothing was published.
    """
    run_id = f"run-{uuid.uuid4().hex}"
    staging_root = request.home / "staging"
    Staging(str(staging_root)).clear()
    settings = StitchSettings(Staging(str(staging_root / run_id)), request.vocabulary, request.rules, run_id)
    files, reasons = _plan(request, rebuild=rebuild)
    if not files and not reasons:
        empty = settings.staging
        return StitchReport(
            "nothing", (), staged_fates(empty), staged_rejected(empty), staged_quarantined(empty), None, None
        )
    try:
        with listening(run_id, progress):
            if reasons:
                _rebuild(settings, request.files, options)
                stage_channel_credits(settings)
            else:
                _increment(settings, request.home, files, options)
        return _publish(settings, request, files, reasons, step, record)
    finally:
        settings.staging.clear()


def _plan(request: StitchRequest, *, rebuild: bool) -> tuple[list[FactFile], tuple[str, ...]]:
    """Give the files that are new, and the reasons for which everything must be folded again."""
    store = Store(request.home / STORE_FILE)
    warehouse = open_warehouse(request.home / WAREHOUSE_FILE)
    try:
        create_warehouse(warehouse, request.vocabulary)
        stitched = store.stitched_files()
        current = {file.name for file in request.files}
        new = [file for file in request.files if file.name not in stitched]
        reasons = []
        if rebuild:
            reasons.append("a rebuild was asked for")
        if store.state("publishing"):
            reasons.append("the run before died while it published")
        if stitched - current:
            reasons.append("records were mapped anew")
        if stitched and store.state("rules_hash") != request.rules_hash:
            reasons.append("mappings, vocabulary or settings changed")
        if new and not stitched:
            reasons.append("these are the first facts")
        return (list(request.files) if reasons else new), tuple(reasons)
    finally:
        warehouse.close()
        store.close()


def _pipeline(options: Sequence[str]) -> beam.Pipeline:
    defaults = [] if any(option.startswith("--runner") for option in options) else ["--runner=FnApiRunner"]
    return beam.Pipeline(options=PipelineOptions([*defaults, *options], save_main_session=False))


def _rebuild(settings: StitchSettings, files: Sequence[FactFile], options: Sequence[str]) -> None:
    """Fold everything: the tables are staged."""
    with _pipeline(options) as pipeline:
        (
            pipeline
            | "Files"
            >> beam.Create([(file.fact_type, file.name, file.path) for file in files], reshuffle=False)
            | "Decode" >> beam.ParDo(Decode(settings))
            | "All batches" >> beam.combiners.ToList()
            | "Connect" >> beam.ParDo(Connect(settings))
            | "Partition" >> beam.ParDo(Partition(settings))
            | "Shards" >> beam.GroupByKey()
            | "Fold" >> beam.ParDo(FoldShard(settings))
            | "All shards" >> beam.combiners.ToList()
            | "Share spend" >> beam.ParDo(ShareSpend(settings))
            | "Fold ledgers" >> beam.ParDo(FoldLedger(settings))
        )


def _increment(
    settings: StitchSettings, home: Path, files: Sequence[FactFile], options: Sequence[str]
) -> None:
    """Fold the units that new facts touch: what changes is staged."""
    with _pipeline(options) as pipeline:
        (
            pipeline
            | "Files"
            >> beam.Create([(file.fact_type, file.name, file.path) for file in files], reshuffle=False)
            | "Decode" >> beam.ParDo(Decode(settings))
            | "All batches" >> beam.combiners.ToList()
            | "Stitch"
            >> beam.ParDo(StitchIncrement(settings, str(home / STORE_FILE), str(home / WAREHOUSE_FILE)))
        )


def _publish(
    settings: StitchSettings,
    request: StitchRequest,
    files: Sequence[FactFile],
    reasons: tuple[str, ...],
    step: Step,
    record: Callable[[StitchReport], None],
) -> StitchReport:
    """Audit what is staged, and publish it; see `pipelines.stitch_publish` for the order."""
    rebuild = bool(reasons)
    mode = "rebuild" if rebuild else "increment"
    by_source: dict[str, dict[str, int]] = {}
    for source, fate, facts in staged_fates(settings.staging).iter_rows():
        by_source.setdefault(source, {})[fate] = facts
    publication = Publication(
        f"p-{uuid.uuid4().hex}", request.published_at, request.rules_hash, by_source, facts=0
    )
    record(_report(settings, mode, reasons, publication, None))
    store = Store(request.home / STORE_FILE)
    warehouse = open_warehouse(request.home / WAREHOUSE_FILE)
    try:
        for setting in BULK_SETTINGS:
            warehouse.execute(setting)
        with _transaction(warehouse):
            step("warehouse")
            fill_warehouse(settings, warehouse, rebuild=rebuild)
            step("audit")
            result = audit(settings, warehouse)
            report = _report(settings, mode, reasons, publication, result)
            if not result.passed:
                raise AuditWithheldError(report)
            step("store")
            fill_store(settings, store, publication, [file.name for file in files], rebuild=rebuild)
            publication = replace(publication, facts=store.fact_count())
            sign(warehouse, publication, result)
            step("commit")
        step("done")
        store.set_state("publishing", None)
    finally:
        warehouse.close()
        store.close()
    return replace(report, publication=publication)


@contextmanager
def _transaction(warehouse: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """A reader sees all of what is done inside, or nothing."""
    warehouse.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        warehouse.execute("ROLLBACK")
        raise
    warehouse.execute("COMMIT")


def _report(
    settings: StitchSettings,
    mode: str,
    reasons: tuple[str, ...],
    publication: Publication | None,
    result: AuditResult | None,
) -> StitchReport:
    staging = settings.staging
    return StitchReport(
        mode,
        reasons,
        staged_fates(staging),
        staged_rejected(staging),
        staged_quarantined(staging),
        publication,
        result,
    )
