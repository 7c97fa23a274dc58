"""What `run`, `demo`, `erase`, `link`, `unlink` and `retract` do: bring facts to the bus, stitch, publish, report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from connectors.bus import DEAD_LETTERS, Bus, read_bus_file
from connectors.keys import HashingKey, load_key
from milepost.cli.console import err
from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode
from milepost.cli.home_record import owner, remember_project
from milepost.cli.retention import clear_raw_zone
from milepost.clock import now
from milepost.parts.machine import Machine, store_of_stitch
from milepost.project import PROJECT_FILE, Project, load_project, rules_document
from pipelines.ingest_report import IngestReport
from pipelines.letters import stitch_letters
from pipelines.progress import Progress
from pipelines.stitch import StitchRequest, facts_on, run_stitch
from pipelines.stitch_publish import AuditWithheldError, StitchReport
from schemas.contracts import frame_schema
from schemas.vocabulary import Vocabulary, load_vocabulary
from warehouse.lock import home_lock
from warehouse.places import places_of
from warehouse.report import render_report, report_path
from warehouse.snapshot import ensure_snapshot

Fates = dict[str, dict[str, dict[str, int]]]


#: For what the stitch of a stream holds a home.
STITCHING = "stream stitch"


@dataclass(frozen=True)
class Job:
    """A project with its home, which is locked, and what all steps share."""

    project: Project
    vocabulary: Vocabulary
    key: HashingKey
    store_url: str | None = field(default=None, repr=False)

    @property
    def home(self) -> Path:
        """Where the data lives."""
        return self.project.home


@dataclass(frozen=True)
class Outcome:
    """What a stitch did, the fates of records and facts by source, and the audit report where there is one."""

    stitched: StitchReport
    fates: Fates
    report: Path | None


@contextmanager
def open_job(project: Path | None, home: Path, purpose: str, store_url: str | None = None) -> Iterator[Job]:
    """Lock the home and load what a run needs; the project is the one named, the one here, or the home's own.

    Raises:
        CommandError: the home belongs to another project.
        ProjectError: the configuration is missing or wrong.
        HomeBusyError: another run is going on.
    """
    if project is None and not (Path.cwd() / PROJECT_FILE).exists():
        project = owner(home)
    loaded = load_project(project, home)
    _check_owner(home, loaded)
    # Facts and dead letters are nobody's business but the pipeline's; who wants readers opens it to a group.
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as held:
        if purpose != STITCHING:
            # A stitch that `milepost up` started steps aside for as long as it takes; its store is the one meant.
            machine = Machine(loaded)
            store_url = store_url or store_of_stitch(home)
            held.enter_context(machine.aside(err.print, "stitch"))
        held.enter_context(home_lock(home, purpose, now()))
        remember_project(home, loaded)
        if store_url is None:
            ensure_snapshot(home)
        # A store of a newer version is refused before anything is put on the bus.
        with places_of(home, store_url):
            pass
        clear_raw_zone(home, now(), loaded.raw_days)
        yield Job(loaded, load_vocabulary(), load_key(home), store_url)


@contextmanager
def stitch_aside(home: Path) -> Iterator[None]:
    """Let the stitch that `milepost up` started in a home step aside meanwhile; nothing happens where none runs."""
    project = owner(home)
    if project is None or not (project / PROJECT_FILE).exists():
        yield
        return
    with Machine(load_project(project, home)).aside(err.print, "stitch"):
        yield


def _check_owner(home: Path, project: Project) -> None:
    """Refuse to mix two projects in one home; one that has moved leaves no configuration where it was."""
    other = owner(home)
    if other is not None and other != project.root and (other / PROJECT_FILE).exists():
        raise CommandError(
            f"the home {home} belongs to the project {other}; a second one would be mixed into its tables",
            remedy=f"give {project.root} a home of its own, with --home or MILEPOST_HOME",
            code=ExitCode.USAGE,
        )


def stitch_and_publish(
    job: Job,
    *,
    rebuild: bool = False,
    options: Sequence[str] = (),
    progress: Progress | None = None,
    ingested: Fates | None = None,
) -> Outcome:
    """Stitch what is on the bus, publish the snapshot and write the audit report.

    Args:
        job: the project and its home.
        rebuild: fold everything again.
        options: of Beam.
        progress: told of facts read and folded.
        ingested: fates of the ingest of this run, to stand beside those of the stitch.

    Raises:
        CommandError: the audit withheld the publication; dead letters and report are written.
    """
    rules = rules_document(job.project, job.vocabulary, job.key.key_id)
    request = StitchRequest(
        home=job.home,
        files=facts_on(Bus(job.home)),
        vocabulary=job.vocabulary,
        rules=job.project.rules,
        rules_hash=rules.hash,
        published_at=now(),
        versions=rules.mappings,
        store_url=job.store_url,
    )
    withheld: AuditWithheldError | None = None
    try:
        stitched = run_stitch(
            request,
            rebuild=rebuild,
            options=options,
            progress=progress,
            record=lambda warehouse, report: warehouse.record_dead_letters(
                stitch_letters(Bus(job.home), report)
            ),
        )
    except AuditWithheldError as error:
        withheld, stitched = error, error.report
    fates = merge_fates(ingested or {}, stitched)
    open_letters = _record(job, stitched, fates)
    report = _write_report(job, stitched, fates, open_letters)
    if job.store_url is None:
        ensure_snapshot(job.home)
    if withheld is not None:
        raise CommandError(
            str(withheld),
            remedy=f"the publication before stays readable, and nothing is lost: {report} shows the rows. Mend the "
            "mapping or the source that they come from, or take their facts out with `milepost retract`; "
            "then run again",
            code=ExitCode.WITHHELD,
        ) from withheld
    return Outcome(stitched, fates, report)


def records_of(report: IngestReport, project: Project) -> Fates:
    """Give what became of records by source, and of facts that the contract check rejected by system."""
    fates: Fates = {}
    for name, source in report.sources.items():
        records = {
            "received": source.received,
            "mapped": source.mapped,
            "filtered": source.filtered,
            "rejected": source.rejected,
        }
        fates.setdefault(name, {})["records"] = records
        facts = fates.setdefault(project.source(name).source_system, {}).setdefault("facts", {})
        facts["rejected"] = facts.get("rejected", 0) + sum(source.rejected_facts.values())
    return fates


def merge_fates(ingested: Fates, stitched: StitchReport) -> Fates:
    """Add the fates of the stitch to those of the ingest: source → `records` and `facts` → fate → count."""
    merged: Fates = {
        source: {unit: dict(counts) for unit, counts in units.items()} for source, units in ingested.items()
    }
    for source, fate, facts in stitched.fates.iter_rows():
        counts = merged.setdefault(source, {}).setdefault("facts", {})
        counts[fate] = counts.get(fate, 0) + facts
    for units in merged.values():
        if "facts" in units:
            units["facts"] = {"yielded": sum(units["facts"].values()), **units["facts"]}
    return merged


def _record(job: Job, stitched: StitchReport, fates: Fates) -> dict[str, int]:
    """Write dead letters outside of any publication, and the whole fates into it; gives open letters by step."""
    bus = Bus(job.home)
    current = [read_bus_file(path) for path in bus.current_files(DEAD_LETTERS)]
    letters = pl.concat([pl.DataFrame(schema=frame_schema(DEAD_LETTERS)), *current])
    with places_of(job.home, job.store_url) as places:
        warehouse = places.warehouse
        warehouse.create(job.vocabulary)
        warehouse.record_dead_letters(letters)
        warehouse.settle_dead_letters(letters.get_column("dead_letter_id"))
        if stitched.publication is not None:
            warehouse.set_fates(stitched.publication.publication_id, json.dumps(fates, sort_keys=True))
        return warehouse.open_dead_letters()


def _write_report(
    job: Job, stitched: StitchReport, fates: Fates, open_letters: dict[str, int]
) -> Path | None:
    if stitched.publication is None or stitched.audit is None:
        return None
    publication = stitched.publication
    described = {
        "publication_id": publication.publication_id,
        "published_at": publication.published_at,
        "facts": publication.facts,
        "rules_hash": publication.rules_hash,
    }
    path = report_path(job.home, publication.publication_id)
    return render_report(
        described, stitched.audit, fates, stitched.quarantined, path, dead_letters=open_letters
    )
