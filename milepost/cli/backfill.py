"""`milepost backfill`: years of history beside the running stream."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from milepost.cli.console import err, out, print_json
from milepost.cli.exit_codes import ExitCode
from milepost.cli.options import HomeOption, JsonOption, ProjectOption
from milepost.cli.run import Counting
from milepost.cli.stream import machine_of


def backfill(
    context: typer.Context,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Only this source; may be given several times.")
    ] = None,
    project: ProjectOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Map new files to facts while the stream runs; the stitch takes them up beside what comes in.

    A source may have `files:` beside `stream:`, with one mapping for both: what is in both is one fact. Files are known
    by their content, so that a backfill that was cut off goes on where it was when it is started again.
    """
    from milepost.cli.job import records_of
    from pipelines.ingest import run_ingest
    from warehouse.lock import BUS_LOCK_FILE, home_lock

    machine = machine_of(project, home)
    with home_lock(machine.project.home, "backfill", file=BUS_LOCK_FILE), Counting() as counted:
        read = counted("reading", "records")
        report = run_ingest(machine.project, context.args, read, sources=tuple(source or ()))
    for failure in report.failures:
        err.print(f"[red]Not read:[/red] {escape(failure)}", soft_wrap=True)
    fates = records_of(report, machine.project)
    if as_json:
        print_json({"fates": fates, "failures": report.failures, "stitch_is_up": machine.is_up})
    else:
        from milepost.cli.summary import fates_table

        out.print(fates_table(fates))
        if machine.is_up:
            out.print(
                "The facts are on the bus; the stitch takes them up in pieces. `milepost status` shows how far."
            )
        else:
            out.print("The facts are on the bus; `milepost run` or `milepost up` stitches them.")
    if not report.ok:
        raise typer.Exit(ExitCode.INPUTS_REJECTED)
