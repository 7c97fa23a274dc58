"""`milepost run` and `milepost demo`: ingest what is new, stitch, publish, and say what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from milepost.cli.console import err, out, print_json
from milepost.cli.demo import demo_home, prepare_demo
from milepost.cli.exit_codes import ExitCode
from milepost.cli.options import HomeOption, JsonOption, ProjectOption, StoreOption, home_folder, store_url

if TYPE_CHECKING:
    from milepost.cli.job import Job, Outcome
    from pipelines.ingest_report import IngestReport

#: Lets `run` pass on to Beam what it does not know itself.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def run(
    context: typer.Context,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Fold everything again; gives the same tables.")
    ] = False,
    project: ProjectOption = None,
    home: HomeOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ingest what is new, stitch it into journeys, audit and publish them.

    Files that are known by their content are not read again. Options that are not listed here, such as
    --runner and its own, are passed on to Beam.
    """
    run_project(
        project,
        home_folder(home),
        rebuild=rebuild,
        options=context.args,
        as_json=as_json,
        store=store_url(store),
    )


def demo(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Run the main job on real data: a year of 2,469 households, 155,848 baskets, 27 campaigns.

    The project and its data go into the home, beside your own data unless --home or MILEPOST_HOME names one.
    """
    folder = demo_home(home)
    project = prepare_demo(folder)
    run_project(project, folder, options=context.args, as_json=as_json)


def run_project(
    project: Path | None,
    home: Path,
    *,
    rebuild: bool = False,
    options: Sequence[str] = (),
    as_json: bool = False,
    store: str | None = None,
) -> None:
    """Do a whole run, print what came out, and exit with what it means."""
    from milepost.cli.job import open_job, records_of, stitch_and_publish
    from pipelines.ingest import run_ingest
    from warehouse.lock import BUS_LOCK_FILE, home_lock

    with ExitStack() as stack:
        job = stack.enter_context(open_job(project, home, "run", store))
        counted = stack.enter_context(Counting())
        read = counted("reading", "records")
        with home_lock(home, "run", file=BUS_LOCK_FILE):
            ingested = run_ingest(job.project, options, read)
        folded = {stage: counted(label, "facts") for stage, label in STAGES.items()}
        outcome = stitch_and_publish(
            job,
            rebuild=rebuild,
            options=options,
            progress=lambda stage, done: folded[stage](done) if stage in folded else None,
            ingested=records_of(ingested, job.project),
        )
    _report(job, ingested, outcome, as_json)
    if not ingested.ok:
        raise typer.Exit(ExitCode.INPUTS_REJECTED)


#: Stages of the stitch that report progress, and what they are called.
STAGES = {"read": "connecting", "folded": "folding"}


class Counting:
    """A line per stage that counts what it has done; the whole is not known before it is done."""

    def __enter__(self) -> Callable[[str, str], Callable[[int], None]]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f}"))
        unit = TextColumn("{task.fields[unit]}")
        self._progress = Progress(*columns, unit, TimeElapsedColumn(), console=err, transient=True)
        self._progress.start()
        return self._add

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _add(self, label: str, unit: str) -> Callable[[int], None]:
        task = self._progress.add_task(label, total=None, unit=unit)
        return lambda done: self._progress.update(task, advance=done)


def _report(job: Job, ingested: IngestReport, outcome: Outcome, as_json: bool) -> None:
    from milepost.cli.summary import fates_table, print_summary, summarise
    from milepost.cli.warehouse import SNAPSHOT, open_warehouse

    for failure in ingested.failures:
        err.print(f"[red]Not read:[/red] {escape(failure)}", soft_wrap=True)
    for source in ingested.sources.values():
        for warning in source.warnings:
            err.print(f"[yellow]{source.name}:[/yellow] {escape(warning)}", soft_wrap=True)
    if outcome.stitched.mode == "rebuild":
        err.print(f"Everything was folded: {'; '.join(outcome.stitched.reasons)}.", soft_wrap=True)
    if job.store_url is not None:
        # The views of both teams, which the summary reads, are DuckDB's for now.
        if as_json:
            print_json({"mode": outcome.stitched.mode, "fates": outcome.fates, "failures": ingested.failures})
        else:
            out.print(fates_table(outcome.fates))
            out.print("The tables are in schema journey of the database.")
        return
    if not (job.home / SNAPSHOT).exists():
        out.print(fates_table(outcome.fates))
        out.print("Nothing is published yet: there are no facts.")
        return
    with open_warehouse(job.home) as warehouse:
        # Of this run, not of the publication: a run without news has none.
        summary = replace(summarise(warehouse), fates=outcome.fates)
    quality = stitching_quality(job)
    if as_json:
        ran = {"mode": outcome.stitched.mode, "reasons": outcome.stitched.reasons, "fates": outcome.fates}
        print_json({**summary.as_json(), "run": ran, "failures": ingested.failures, "stitching": quality})
        return
    if outcome.stitched.mode == "nothing":
        out.print("Nothing new: the tables are as they were.")
    print_summary(summary, out)
    if quality is not None:
        out.print(
            "Stitching against the truth: "
            f"precision [b]{quality['precision']:.6f}[/b], recall [b]{quality['recall']:.6f}[/b] "
            f"over {quality['true_pairs']:,} true pairs (recall of pairs that nothing connects counted in: "
            f"{quality['recall_of_all']:.6f})"
        )
    _say_what_next(job, outcome)


def stitching_quality(job: Job) -> dict[str, float] | None:
    """Measure the stitching where a simulation left the truth beside the project; None elsewhere."""
    import polars as pl

    from milepost.simulate.quality import stitching_quality as measure
    from schemas.tables import load_tables
    from warehouse.definitions import open_warehouse, read_frame
    from warehouse.snapshot import SNAPSHOT

    truth = job.project.root / "truth" / "identifiers.parquet"
    if not truth.exists():
        return None
    with open_warehouse(job.home / SNAPSHOT, read_only=True) as warehouse:
        identities = read_frame(warehouse, load_tables()["identities"])
    quality = measure(pl.read_parquet(truth), identities, job.key)
    return {
        "precision": quality.precision,
        "recall": quality.recall,
        "recall_of_all": quality.recall_of_all,
        "true_pairs": quality.true_pairs,
        "found_pairs": quality.found_pairs,
    }


def _say_what_next(job: Job, outcome: Outcome) -> None:
    from milepost.cli.warehouse import open_warehouse
    from milepost.project import default_home

    with open_warehouse(job.home) as warehouse:
        # Somebody who converted has the journey that is worth reading; a hashed name would be no use to type.
        someone = warehouse.rows(
            "SELECT i.namespace || ':' || i.value AS name FROM journey.journeys AS j "
            "JOIN journey.identities AS i USING (customer_id) "
            "WHERE NOT j.shared AND i.namespace NOT IN ('email', 'phone') "
            "ORDER BY j.converted_at IS NULL, j.touches BETWEEN 5 AND 25 DESC, j.customer_id, name LIMIT 1"
        )
        rejected = warehouse.rows(
            "SELECT count(*) AS letters FROM journey.dead_letters WHERE status = 'open'"
        )
    where = "" if job.home == default_home() else f" --home {job.home}"
    if outcome.report is not None:
        err.print(f"Audit report: {outcome.report}", soft_wrap=True)
    out.print("\nNext:")
    if someone:
        out.print(f"  milepost journey {someone[0]['name']}{where}", soft_wrap=True)
    if rejected[0]["letters"]:
        out.print(
            f"  milepost dead-letters list{where}   [dim]# rejected inputs: {rejected[0]['letters']:,}[/dim]"
        )
    out.print(f"  milepost status{where}", soft_wrap=True)
