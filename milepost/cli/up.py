"""`milepost up` and `milepost down`: everything that one machine needs, started and stopped."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from milepost.cli.console import err, out
from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode
from milepost.cli.options import HomeOption, ProjectOption, StoreOption, store_url
from milepost.cli.stream import machine_of

if TYPE_CHECKING:
    from milepost.parts.machine import Machine

#: Packages of extras that the parts need.
_COLLECTING, _STREAMING = ("uvicorn", "starlette"), ("kafka", "prometheus_client")
#: What a part is for, as the table says it.
_PURPOSES = {
    "Kafka": "keeps raw records and facts",
    "Flink": "runs ingest and stitch",
    "collector": "takes events over HTTP",
    "ingest": "maps raw records to facts",
    "stitch": "folds facts into journeys, publishes them",
}


class Engine(StrEnum):
    """What runs the pipelines."""

    IN_PROCESS = "in-process"
    FLINK = "flink"


def up(
    project: ProjectOption = None,
    home: HomeOption = None,
    store: StoreOption = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="What runs the pipelines: this machine's processes, or a Flink that is started too."
        ),
    ] = Engine.IN_PROCESS,
) -> None:
    """Start Kafka, collector, ingest and stitch on this machine, wait until each answers, and say where each is.

    What runs already is left alone. Java comes from the system (17 or newer) or the extra `milepost[java]`;
    Kafka is fetched once and kept. Data are in the home, and survive `milepost down`.
    """
    from milepost.cli.home_record import remember_project
    from milepost.parts.machine import part_environment

    machine = machine_of(project, home)
    if not machine.streamed:
        raise CommandError(
            f"{machine.project.file}: no source is a stream, so there is nothing to wait for",
            remedy="give a source `stream: segment`, `snowplow` or `json`; for files, use `milepost run`",
            code=ExitCode.USAGE,
        )
    for module in (*_COLLECTING, *_STREAMING) if "collector" in machine.wanted else _STREAMING:
        # What is missing is told before anything is started.
        import_module(module)
    machine.project.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    remember_project(machine.project.home, machine.project)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("fetching jars", total=None, visible=False)

        def fetched(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=done < total)

        machine.start(
            part_environment(store_url(store)),
            lambda name: err.print(f"starting {name} …"),
            fetched,
            "flink" if engine is Engine.FLINK else "in-process",
        )
    out.print(parts_table(machine))
    _say_what_next(machine)


def down(project: ProjectOption = None, home: HomeOption = None) -> None:
    """Stop what `milepost up` started: what has been taken is worked off or stays on Kafka, and nothing is lost."""
    machine = machine_of(project, home)
    stopped: list[str] = []

    def step(name: str) -> None:
        stopped.append(name)
        err.print(f"stopping {name} …")

    machine.stop(step)
    out.print("Everything is down; the data stay." if stopped else "Nothing was up.")


def parts_table(machine: Machine) -> Table:
    """Show the parts: whether each runs, and where."""
    table = Table(box=None, pad_edge=False)
    for column in ("part", "state", "where", "log", "what it does"):
        table.add_column(column, overflow="fold")
    for part in machine.states():
        state = "[green]up[/green]" if part.pid is not None else "[red]down[/red]"
        table.add_row(part.name, state, part.address or "", str(part.log), _PURPOSES[part.name])
    return table


def _say_what_next(machine: Machine) -> None:
    address = machine.address("collector")
    out.print("\nNext:")
    if address is not None:
        keyed = [n for n, s in machine.project.sources.items() if s.stream == "segment"]
        for name in keyed:
            out.print(f"  milepost write-keys create {name}")
        out.print(f"  curl http://{address}/openapi.json   [dim]# what the collector understands[/dim]")
    out.print("  milepost status")
    out.print("  milepost down")
