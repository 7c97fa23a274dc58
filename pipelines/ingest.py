"""Ingest: files → raw records → mapping → contract check → canonical facts and dead letters on the bus."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import apache_beam as beam
import polars as pl

from connectors.bus import DEAD_LETTERS
from connectors.check import check_facts
from connectors.dead_letters import Place, Reject, dead_letters
from connectors.errors import UnreadableFileError
from connectors.files.discover import content_hash, find_files, state_of
from connectors.files.read import read_batches
from connectors.mapping.facts import Origin, make_facts
from connectors.mapping.statement import ROW
from connectors.registry import Ingested, append_entries
from milepost.clock import now
from milepost.project import Project
from pipelines.ingest_plan import LostFile, Plan, SourceFile, discover, lost_key, make_plan, shown_path
from pipelines.ingest_report import IngestReport, SourceFates
from pipelines.ingest_steps import (
    OUTCOMES,
    PROGRESS,
    REJECTED,
    CheckFacts,
    MapRecords,
    RawPart,
    ReadFile,
    RegisterFile,
    WriteDeadLetters,
    WriteFacts,
    digests_of,
    fault_rejects,
)
from pipelines.runner import pipeline_options
from schemas.vocabulary import load_vocabulary


def ingest(pipeline: beam.Pipeline, files: Sequence[SourceFile], plan: Plan) -> beam.PCollection:
    """Build the pipeline; its result is the registry's entry of each file."""
    found = pipeline | "Files" >> beam.Create(files) | beam.Reshuffle()
    raw = found | "Read" >> beam.ParDo(ReadFile(plan)).with_outputs(REJECTED, OUTCOMES, main="raw")
    mapped = raw.raw | "Map" >> beam.ParDo(MapRecords(plan)).with_outputs(REJECTED, OUTCOMES, main="facts")
    checked = mapped.facts | "Check" >> beam.ParDo(CheckFacts(plan)).with_outputs(
        REJECTED, OUTCOMES, main="good"
    )
    written = checked.good | "Write facts" >> beam.ParDo(WriteFacts(plan))
    letters = (
        (raw[REJECTED], mapped[REJECTED], checked[REJECTED])
        | "Rejects" >> beam.Flatten()
        | "Write dead letters" >> beam.ParDo(WriteDeadLetters(plan))
    )
    return (
        (raw[OUTCOMES], mapped[OUTCOMES], checked[OUTCOMES], written, letters)
        | "Outcomes" >> beam.Flatten()
        | "By file" >> beam.GroupByKey()
        | "Register" >> beam.ParDo(RegisterFile(plan))
    )


def run_ingest(
    project: Project,
    options: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
    *,
    sources: Sequence[str] = (),
    received_at: datetime | None = None,
) -> IngestReport:
    """Ingest what is new.

    Args:
        project: the project.
        options: Beam's; the in-process runner unless one names another.
        progress: called with the number of records of each batch that was read (in-process runner only).
        sources: names of the sources to ingest; all of them unless given.
        received_at: the time of arrival of contents that are new; the present unless given.

    Raises:
        ProjectError, MappingError, KeyFileError: before anything is read; each names the file and the remedy.
    """
    run = secrets.token_hex(8)
    moment = int((received_at or now()).astimezone(UTC).timestamp() * 1_000_000)
    plan = make_plan(project, load_vocabulary(), moment, run, tuple(sources))
    found = discover(plan)
    report = IngestReport(run, {name: SourceFates(name) for name in plan.versions})
    for name, count in found.known.items():
        report.sources[name].files_known = count
    for name in found.empty:
        report.sources[name].warnings.append(f"no file matches {plan.source(name).files}")
    _bury(found.lost, plan, report)
    if found.new:
        if progress is not None:
            PROGRESS[run] = progress
        try:
            _run(found.new, plan, options)
        finally:
            PROGRESS.pop(run, None)
    for entry in plan.bus.registry().entries:
        if isinstance(entry, Ingested) and entry.run == run and entry.sha256:
            report.sources[entry.source].add(entry)
    for fates in report.sources.values():
        fates.check()
    return report


def _run(files: Sequence[SourceFile], plan: Plan, options: Sequence[str]) -> None:
    with beam.Pipeline(options=pipeline_options(options)) as pipeline:
        ingest(pipeline, files, plan)


def _bury(lost: Sequence[LostFile], plan: Plan, report: IngestReport) -> None:
    """Write the dead letters of files that could not even be looked at."""
    for file in lost:
        path = shown_path(file.path, plan)
        place = Place(file.source, "read", path, plan.received_at)
        letters = dead_letters([file.reject], place, plan.bus.raw_zone)
        # Without a content there is nothing to be known by: the letter goes by what it says.
        name = plan.bus.write(DEAD_LETTERS, f"{file.source}-lost-{letters['dead_letter_id'][0]}", letters)
        append_entries(
            plan.bus.folder,
            [
                Ingested(
                    file.source,
                    lost_key(path),
                    "",
                    path,
                    "partial",
                    file.reject.reason,
                    {DEAD_LETTERS: [name]},
                )
            ],
        )
        fates = report.sources[file.source]
        fates.failed[path] = f"{file.reject.error_class}: {file.reject.reason}"
        fates.dead_letters += 1


@dataclass
class Preview:
    """What a mapping yields of a source's first records, and what it would reject.

    `facts`: good facts (the contract's columns). `rejects`: class, reason and row of each reject.
    """

    file: str
    records: int
    facts: pl.DataFrame
    filtered: int
    rejects: list[Reject] = field(default_factory=list)


def preview_mapping(project: Project, source_name: str, rows: int = 5) -> Preview:
    """Map the first records of a source's first file; writes nothing but the hashing key, if there is none.

    Raises:
        ProjectError, MappingError, KeyFileError, UnreadableFileError: each says what is wrong.
    """
    plan = make_plan(project, load_vocabulary(), int(now().timestamp() * 1_000_000), "", (source_name,))
    source = plan.source(source_name)
    if source.files is None:
        raise UnreadableFileError(
            "file_missing",
            f"{source_name} is a stream: keep some of its records as JSON Lines in a folder, and name it in "
            f"sources.{source_name}.files while you try the mapping",
        )
    paths = find_files(source, project)
    if not paths:
        raise UnreadableFileError(
            "file_missing", f"no file matches {source.files}; correct sources.{source_name}.files"
        )
    return _preview(paths[0], plan, source_name, rows)


def _preview(path: Path, plan: Plan, source_name: str, rows: int) -> Preview:
    source, engine = plan.source(source_name), plan.engine(source_name)
    batch = next(iter(read_batches(path, source)))
    table = batch.table if source.unit == "file" else batch.table.slice(0, rows)
    sha256 = content_hash(path)
    version = plan.versions[source_name]
    mapped = engine.map_batch(table, batch.absent_is_null)
    stand_in = SourceFile(source_name, path, sha256, state_of(path), plan.received_at, version)
    origin = Origin(
        source.source_system, stand_in.raw_id, plan.received_at, version, source.fact, source.unit
    )
    raw = RawPart(stand_in, 1, batch)
    made = make_facts(
        mapped.rows, origin, plan.identifiers(source_name), lambda numbers: digests_of(raw, engine, numbers)
    )
    checked = check_facts(made.facts, source.fact, plan.vocabulary)
    last = int(table.column(ROW)[-1].as_py()) if table.num_rows else rows
    rejects = [reject for reject in batch.rejects if (reject.row or 0) <= last]
    rejects += fault_rejects(table, mapped.faults, engine) if mapped.faults.height else []
    rejects += [
        Reject(error_class, reason, b"", row)
        for error_class, reason, row in checked.rejects.select(
            "error_class", "reason_of_rejection", ROW
        ).iter_rows()
    ]
    return Preview(shown_path(path, plan), table.num_rows, checked.good.head(rows), made.filtered, rejects)
