"""Stitch: canonical facts on the bus become journeys in the warehouse. `_rebuild` and `_increment` are the diagrams."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import apache_beam as beam
import polars as pl

from connectors.bus import Bus
from milepost.rules import Rules
from milepost.units import Nodes
from pipelines.mapping_versions import REBUILD, remember_versions
from pipelines.progress import Progress, listening
from pipelines.runner import pipeline_options
from pipelines.staging import Staging
from pipelines.stitch_increment import StitchIncrement, stitch_increment
from pipelines.stitch_publish import (
    Change,
    Record,
    Step,
    StitchReport,
    publish_staged,
    stage_channel_credits,
    stitch_report,
)
from pipelines.stitch_rebuild import (
    Connect,
    Decode,
    FoldLedger,
    FoldShard,
    Partition,
    ShareSpend,
    StitchSettings,
    stage_streamed,
)
from schemas.contracts import FACT_TYPES
from schemas.vocabulary import Vocabulary
from warehouse.places import Places, places_of

#: A batch of facts: their type, a name that is its own, and the file.
Element = tuple[str, str, str]


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
    """What a stitch works on: the home, all files of facts that stand on the bus, words, settings and their hash.

    `versions` are those of today's mappings by source: what an older one made of a stream gives way.

    `store_url` names the database that holds store and warehouse; None where files of the home do.
    """

    home: Path
    files: tuple[FactFile, ...]
    vocabulary: Vocabulary
    rules: Rules
    rules_hash: str
    published_at: datetime
    versions: Mapping[str, str] = field(default_factory=dict)
    store_url: str | None = field(default=None, repr=False)


def run_stitch(
    request: StitchRequest,
    *,
    rebuild: bool = False,
    options: Sequence[str] = (),
    progress: Progress | None = None,
    step: Step = lambda _: None,
    record: Record = lambda *_: None,
) -> StitchReport:
    """Stitch what is new on the bus, or everything, and publish it.

    Args:
        request: what to stitch.
        rebuild: fold everything again, whatever was done before.
        options: of Beam.
        progress: told of facts read and folded.
        step: told of each step of the publication, before it is taken.
        record: told what is rejected and quarantined.

    Raises:
        AuditWithheldError: a critical expectation failed; nothing was published.
    """
    run_id = f"run-{uuid.uuid4().hex}"
    staging_root = request.home / "staging"
    Staging(str(staging_root)).clear()
    staging = Staging(str(staging_root / run_id))
    with places_of(request.home, request.store_url) as places:
        older = remember_versions(places.store, request.versions)
        settings = StitchSettings(staging, request.vocabulary, request.rules, run_id, older)
        files, reasons = _plan(places, request, rebuild=rebuild)
        streamed = stage_streamed(settings, places.store) if reasons else []
        names = tuple(file.name for file in files)
        # Where a stream has been, others listen to what changes.
        announce = bool(places.store.offsets())
        change = Change(
            request.published_at, request.rules_hash, files=names, reasons=reasons, announce=announce
        )
        if not files and not reasons:
            return stitch_report(settings, change)
        try:
            with places.lent(), listening(run_id, progress):
                if reasons:
                    _rebuild(settings, [*_elements(request.files), *streamed], options)
                    stage_channel_credits(settings)
                else:
                    _increment(settings, request, _elements(files), options)
            return publish_staged(places, settings, change, step=step, record=record)
        finally:
            settings.staging.clear()


def publish_increment(
    places: Places,
    settings: StitchSettings,
    facts: Mapping[str, pl.DataFrame],
    nodes: list[Nodes],
    change: Change,
    *,
    step: Step = lambda _: None,
    record: Record = lambda *_: None,
) -> StitchReport:
    """Stitch new facts into open places and publish what changes: a micro-batch of a process that keeps running.

    Args:
        places: open ones, of which nothing is under way.
        settings: of this batch; its staging is a folder of its own, which is empty and removed at the end.
        facts: new ones by type, every type there is, with the columns of `staged_schema`; `unit` may hold anything.
        nodes: what they name, see `milepost.units.find_nodes`.
        change: what is recorded with them, such as the offsets behind them.
        step: told of each step of the publication, before it is taken.
        record: told what is rejected and quarantined.

    Raises:
        AuditWithheldError: a critical expectation failed; nothing was published.
    """
    try:
        # One transaction for all that is read: a database pays for each.
        with places.warehouse.transaction():
            stitch_increment(settings, places, facts, nodes)
        return publish_staged(places, settings, change, whole=False, step=step, record=record)
    finally:
        settings.staging.clear()


def _plan(places: Places, request: StitchRequest, *, rebuild: bool) -> tuple[list[FactFile], tuple[str, ...]]:
    """Give the files that are new, and the reasons for which everything must be folded again."""
    store = places.store
    places.warehouse.create(request.vocabulary)
    stitched = store.stitched_files()
    current = {file.name for file in request.files}
    new = [file for file in request.files if file.name not in stitched]
    reasons = []
    if rebuild:
        reasons.append("a rebuild was asked for")
    if store.is_torn():
        reasons.append("the run before died while it published")
    if said := store.state(REBUILD):
        reasons.append(said)
    if stitched - current:
        reasons.append("records were mapped anew")
    begun = bool(stitched or store.offsets())
    if begun and store.state("rules_hash") != request.rules_hash:
        reasons.append("mappings, vocabulary or settings changed")
    if new and not begun:
        reasons.append("these are the first facts")
    return (list(request.files) if reasons else new), tuple(reasons)


def _elements(files: Sequence[FactFile]) -> list[Element]:
    return [(file.fact_type, file.name, file.path) for file in files]


def _rebuild(settings: StitchSettings, files: Sequence[Element], options: Sequence[str]) -> None:
    """Fold everything: the tables are staged."""
    with beam.Pipeline(options=pipeline_options(options)) as pipeline:
        (
            pipeline
            | "Files" >> beam.Create(files, reshuffle=False)
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
    settings: StitchSettings, request: StitchRequest, files: Sequence[Element], options: Sequence[str]
) -> None:
    """Fold the units that new facts touch: what changes is staged."""
    with beam.Pipeline(options=pipeline_options(options)) as pipeline:
        (
            pipeline
            | "Files" >> beam.Create(files, reshuffle=False)
            | "Decode" >> beam.ParDo(Decode(settings))
            | "All batches" >> beam.combiners.ToList()
            | "Stitch" >> beam.ParDo(StitchIncrement(settings, str(request.home), request.store_url))
        )
