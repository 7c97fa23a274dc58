"""`milepost stream`: the parts of the continuous pipeline, each a process; `milepost up` starts them."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milepost.cli.errors import CommandError
from milepost.cli.options import HomeOption, ProjectOption, StoreOption, home_folder, store_url
from milepost.cli.run import PASS_ON

if TYPE_CHECKING:
    from milepost.cli.job import Job
    from milepost.parts.machine import Machine
    from pipelines.stream_stitch import StitchStreamSettings

app = typer.Typer(
    no_args_is_help=True,
    help="Run one part of the continuous pipeline in the foreground: collector, ingest or stitch. "
    "`milepost up` starts those that a project needs; use these where something else supervises them.",
)
#: How long a stitch waits before it begins anew: facts of a mapping that is nowhere here come again and again.
BEGIN_ANEW_SECONDS = 2.0
OnceOption = Annotated[
    bool, typer.Option("--once", help="Stop when everything that is there now has been worked off.")
]


@app.command(
    context_settings=PASS_ON, epilog="Example:\n\n  milepost stream ingest --project shop --home ~/shop-data"
)
def ingest(
    context: typer.Context, project: ProjectOption = None, home: HomeOption = None, once: OnceOption = False
) -> None:
    """Map raw records from Kafka to facts on Kafka. What is not listed here is passed on to Beam."""
    from milepost.clock import now
    from pipelines.ingest_plan import make_plan
    from pipelines.stream import run_ingest
    from schemas.vocabulary import load_vocabulary

    machine = machine_of(project, home)
    _stop_on_signals()
    moment = int(now().timestamp() * 1_000_000)
    plan = make_plan(machine.project, load_vocabulary(), moment, "stream", machine.streamed)
    settings = machine.kafka_settings()
    _tell_health(machine, "ingest", machine.project.stream.ingest_metrics_port)
    run_ingest(plan, settings, context.args, once=once)


@app.command(context_settings=PASS_ON, epilog="Example:\n\n  milepost stream stitch --project shop")
def stitch(
    context: typer.Context,
    project: ProjectOption = None,
    home: HomeOption = None,
    store: StoreOption = None,
    once: OnceOption = False,
) -> None:
    """Stitch facts from Kafka and new files of the bus into journeys, and publish them at the set pace."""
    from milepost.cli.job import STITCHING, open_job, stitch_and_publish
    from milepost.parts.machine import Machine
    from pipelines.stream import run_stitch
    from pipelines.stream_stitch import MappingChangedError

    _stop_on_signals()
    with open_job(project, home_folder(home), STITCHING, store_url(store)) as job:
        machine = Machine(job.project)
        settings = stitch_settings(machine, job)
        _tell_health(machine, "stitch", job.project.stream.stitch_metrics_port)
        # What is left of a run that died, or of settings that changed, before anything new.
        stitch_and_publish(job)
        try:
            run_stitch(settings, context.args, once=once)
        except MappingChangedError as error:
            changed = error
        else:
            return
    if once:
        raise CommandError(str(changed), remedy="run it again: it begins with the mappings as they are now")
    logging.getLogger(__name__).warning("%s: beginning anew", changed)
    time.sleep(BEGIN_ANEW_SECONDS)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command


@app.command(epilog="Example:\n\n  milepost stream collector --project shop")
def collector(project: ProjectOption = None, home: HomeOption = None) -> None:
    """Take events over HTTP, and put them on Kafka."""
    from connectors.collector.serve import serve

    _stop_on_signals()
    machine = machine_of(project, home)
    serve(
        machine.project.collector,
        machine.kafka_settings(),
        machine.project.home,
        on_ready=lambda host, port: machine.tell_address("collector", f"{host}:{port}"),
    )


def stitch_settings(machine: Machine, job: Job) -> StitchStreamSettings:
    """Give what the stitch of a stream needs to know of a project."""
    from milepost.project import rules_document
    from pipelines.stream_stitch import StitchStreamSettings

    document = rules_document(job.project, job.vocabulary, job.key.key_id)
    return StitchStreamSettings(
        home=job.home,
        kafka=machine.kafka_settings(),
        stream=job.project.stream,
        vocabulary=job.vocabulary,
        rules=job.project.rules,
        rules_hash=document.hash,
        versions=dict(document.mappings),
        systems=frozenset(source.source_system for source in job.project.sources.values()),
        store_url=job.store_url,
    )


def machine_of(project: Path | None, home: Path | None) -> Machine:
    """Give the parts of the project that is named, the one here, or the home's own."""
    from milepost.cli.home_record import owner
    from milepost.parts.machine import Machine
    from milepost.project import PROJECT_FILE, load_project

    folder = home_folder(home)
    if project is None and not (Path.cwd() / PROJECT_FILE).exists():
        project = owner(folder)
    return Machine(load_project(project, folder))


def _tell_health(machine: Machine, name: str, port: int) -> None:
    from milepost.parts.health import serve_health
    from pipelines.kafka_source import is_reading

    machine.tell_address(name, serve_health(machine.project.stream.metrics_host, port, is_reading))


def _stop_on_signals() -> None:
    """Let a signal end the work in order, a second one at once; warnings go to standard error, with their time."""
    from pipelines.kafka_source import STOPPING

    logging.disable(logging.NOTSET)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", force=True)
    # What a broker that is away means is said by our own words.
    for loud in ("kafka", "apache_beam", "great_expectations"):
        logging.getLogger(loud).setLevel(logging.CRITICAL)

    def stop(number: int, _: object) -> None:
        if STOPPING.is_set():
            os._exit(128 + number)
        STOPPING.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
