"""`milepost replay`: raw records of a stream once more through today's mapping."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated

import typer

from milepost.cli.console import err, out, print_json
from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode
from milepost.cli.options import HomeOption, JsonOption, ProjectOption, StoreOption, store_in
from milepost.cli.stream import machine_of, stitch_settings


def replay(
    context: typer.Context,
    source: Annotated[str, typer.Option("--source", help="The stream whose raw records are mapped again.")],
    since: Annotated[
        str | None,
        typer.Option("--from", help="Only what came in since then, such as 2026-05-01 or 2026-05-01T12:00Z."),
    ] = None,
    project: ProjectOption = None,
    home: HomeOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read raw records of a stream again, map them as the mapping is today, and fold everything anew.

    What the corrected mapping makes of a record replaces what an older one made of it, also where it makes nothing of
    it any more. Records that retention has cleared keep the facts that they had. While `milepost up` runs, ingest and
    stitch step aside: what comes in waits on Kafka.
    """
    from milepost.cli.job import open_job, stitch_and_publish
    from milepost.clock import now
    from pipelines.ingest_plan import make_plan
    from pipelines.mapping_versions import drop_older
    from pipelines.stream import run_replay, run_stitch
    from schemas.vocabulary import load_vocabulary
    from warehouse.places import places_of

    moment = None if since is None else _moment(since)
    machine = machine_of(project, home)
    if source not in machine.streamed:
        raise CommandError(
            f"{machine.project.file}: {source!r} is no source with `stream:`",
            remedy=f"name one of: {', '.join(machine.streamed) or '(none yet)'}; files are mapped again by "
            "`milepost run` where their mapping has changed",
            code=ExitCode.USAGE,
        )
    url = store_in(machine.project.home, store)
    plan = make_plan(
        machine.project, load_vocabulary(), int(now().timestamp() * 1_000_000), "replay", (source,)
    )
    with ExitStack() as held:
        held.enter_context(machine.aside(err.print, "ingest", "stitch"))
        job = held.enter_context(open_job(machine.project.file, machine.project.home, "replay", url))
        err.print(f"mapping {source} again …")
        reached = run_replay(plan, machine.kafka_settings(), context.args, moment)
        settings = stitch_settings(machine, job)
        err.print("stitching …")
        run_stitch(settings, context.args, once=True)
        with places_of(job.home, job.store_url) as places:
            system = machine.project.source(source).source_system
            dropped = drop_older(places.store, settings.versions, source, system, reached)
        outcome = stitch_and_publish(job, rebuild=True, options=context.args)
    if as_json:
        print_json({"source": source, "facts_replaced": dropped, "fates": outcome.fates})
    else:
        out.print(
            f"{source} is mapped as its mapping is today; {dropped:,} facts of an older mapping, which today's does "
            "not make, are gone."
        )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text} is no time; write 2026-05-01 or 2026-05-01T12:00Z", param_hint="--from"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
