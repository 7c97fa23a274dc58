"""`milepost doctor`: what is missing or wrong on this machine, in this home and project, and what helps."""

from __future__ import annotations

import importlib.metadata
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from milepost.cli.console import out, print_json
from milepost.cli.doctor_key import check_key, check_store
from milepost.cli.exit_codes import ExitCode
from milepost.cli.findings import Finding, Place
from milepost.cli.options import HomeOption, JsonOption, ProjectOption, home_folder

if TYPE_CHECKING:
    from milepost.project import Project
    from milepost.sources import Source

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)
#: Below that much free space a run may fail; a home of the demonstration takes about a tenth of it.
WANTED_FREE_BYTES = 2 * 1024**3

_MARKS = {"ok": "[green]ok[/green]    ", "advice": "[yellow]advice[/yellow]", "wrong": "[red]wrong[/red] "}


def doctor(home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Look for what is missing or wrong, and say what helps; fails if something is wrong."""
    place = Place(home_folder(home), project)
    findings = [finding for check in CHECKS for finding in check(place)]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            out.print(
                f"{_MARKS[finding.status]}  [b]{finding.check}[/b]: {escape(finding.found)}", soft_wrap=True
            )
            if finding.remedy:
                out.print(f"          {escape(finding.remedy)}", soft_wrap=True)
    if any(finding.status == "wrong" for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def check_python(_: Place) -> Iterator[Finding]:
    """Is it a Python that Milepost runs on?"""
    version = sys.version_info[:2]
    spelled = ".".join(str(part) for part in sys.version_info[:3])
    if OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        yield Finding("python", "ok", spelled)
    else:
        wanted = f"{'.'.join(map(str, OLDEST_PYTHON))} to {'.'.join(map(str, NEWEST_PYTHON))}"
        yield Finding("python", "wrong", spelled, f"install Milepost with Python {wanted}")


def check_packages(_: Place) -> Iterator[Finding]:
    """Are the packages there that this version asks for, in versions that it was made for?"""
    from packaging.requirements import Requirement

    try:
        asked = importlib.metadata.requires("milepost") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "wrong", "milepost itself is not installed", "run `make install`")
        return
    faults: list[str] = []
    for requirement in map(Requirement, asked):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            faults.append(f"{requirement.name} is {found}, wanted {requirement.specifier}")
    if faults:
        yield Finding("packages", "wrong", "; ".join(faults), "run `make install`, or install the wheel anew")
    else:
        yield Finding(
            "packages", "ok", f"milepost {importlib.metadata.version('milepost')} and all that it asks for"
        )


def check_contracts(_: Place) -> Iterator[Finding]:
    """Do the schemas have the vocabulary's words, and fit the releases?"""
    from schemas.releases import check_release, released_versions
    from schemas.sync import stale_schemas

    stale = sorted(stale_schemas())
    faults = [fault for version in released_versions() for fault in check_release(version)]
    if stale:
        yield Finding("contracts", "wrong", f"stale enums: {', '.join(stale)}", "run `milepost schema sync`")
    if faults:
        yield Finding("contracts", "wrong", str(faults[0]), "run `milepost schema check`")
    if not stale and not faults:
        yield Finding("contracts", "ok", "schemas fit the vocabulary and every release")


def check_home(place: Place) -> Iterator[Finding]:
    """Can the home be written, by its owner alone, and is there room?"""
    home = place.home
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    found = str(home) if home.exists() else f"{home} is not there yet; the first run makes it"
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        remedy = "correct its rights, or name another with --home or MILEPOST_HOME"
        yield Finding("home", "wrong", f"{existing} cannot be written: {error.strerror}", remedy)
        return
    yield Finding("home", "ok", found)
    if home.exists() and stat.S_IMODE(home.stat().st_mode) & 0o007:
        yield Finding("home", "advice", "everybody on this machine can look into it", f"run: chmod o= {home}")
    free = shutil.disk_usage(existing).free
    room = f"{free / 1024**3:,.1f} GiB free"
    if free < WANTED_FREE_BYTES:
        yield Finding(
            "room", "advice", room, f"{WANTED_FREE_BYTES / 1024**3:.0f} GiB are recommended: make room"
        )
    else:
        yield Finding("room", "ok", room)


def check_files(place: Place) -> Iterator[Finding]:
    """Can the store and the warehouse be opened, and does this Milepost know their versions?"""
    import duckdb

    from warehouse.definitions import (
        WAREHOUSE_VERSION,
        WORKING_COPY,
        WarehouseVersionError,
        open_warehouse,
        read_version,
    )
    from warehouse.lock import HomeBusyError, home_lock
    from warehouse.snapshot import SNAPSHOT

    if not place.home.exists():
        return
    try:
        with home_lock(place.home, "doctor"):
            pass
    except HomeBusyError as error:
        yield Finding("run", "advice", str(error), "what a run is working on is not looked at")
        return
    for name in (WORKING_COPY, SNAPSHOT):
        file = place.home / name
        if not file.exists():
            continue
        try:
            with open_warehouse(file, read_only=True) as connection:
                found = read_version(connection)
        except WarehouseVersionError as error:
            yield Finding(name, "wrong", str(error))
        except duckdb.Error as error:
            remedy = (
                "`milepost run` makes it again" if name == SNAPSHOT else "restore a backup, or run --rebuild"
            )
            yield Finding(name, "wrong", f"{file} cannot be read: {error}", remedy)
        else:
            yield Finding(
                name,
                "ok",
                f"version {found} of {WAREHOUSE_VERSION}, {file.stat().st_size / 1024**2:,.1f} MiB",
            )


def check_project(place: Place) -> Iterator[Finding]:
    """Is the configuration right, and does each mapping fit its source's files?"""
    from milepost.cli.identifiers import project_here
    from milepost.project import ProjectError

    try:
        project = project_here(place.project)
    except ProjectError as error:
        yield Finding("project", "wrong", str(error))
        return
    if project is None:
        yield Finding(
            "project",
            "advice",
            "no milepost.yaml here",
            "`milepost init` makes a project; --project names one",
        )
        return
    yield Finding("project", "ok", f"{project.file} with {len(project.sources)} sources")
    for source in project.sources.values():
        yield _check_source(source, project)
    if any(source.stream is not None for source in project.sources.values()):
        yield from _check_stream(project)


def _check_stream(project: Project) -> Iterator[Finding]:
    """Is there what `milepost up` needs: the packages of the stream, and Java for a Kafka of its own?"""
    from milepost.parts.errors import PartError
    from milepost.parts.java import find_java

    absent = [
        name for name in ("kafka", "prometheus_client", "starlette", "uvicorn") if find_spec(name) is None
    ]
    if absent:
        remedy = "pip install 'milepost[collector]', if you want to use `milepost up`"
        yield Finding("packages of the stream", "advice", f"not installed: {', '.join(absent)}", remedy)
    else:
        yield Finding("packages of the stream", "ok", "installed")
    if project.kafka is not None:
        return
    try:
        yield Finding("Java for Kafka", "ok", str(find_java()))
    except PartError as error:
        yield Finding("Java for Kafka", "advice", str(error), "or name a cluster in milepost.yaml: `kafka:`")


def _check_source(source: Source, project: Project) -> Finding:
    from connectors.errors import ConnectorError, UnreadableFileError
    from connectors.files.discover import find_files
    from connectors.files.read import read_batches, read_lookups
    from connectors.mapping.engine import MappingEngine
    from milepost.project import ProjectError
    from schemas.vocabulary import load_vocabulary

    check = f"source {source.name}"
    try:
        engine = MappingEngine(
            file=str(project.mapping_file(source)),
            text=project.mapping_sql(source),
            fact=source.fact,
            unit=source.unit,
            system=source.source_system,
            zone=source.zone,
            lookups=read_lookups(source, project),
            vocabulary=load_vocabulary(),
        )
        if source.files is None:
            return Finding(check, "ok", f"a stream, mapped by {source.mapping}")
        files = find_files(source, project)
        if not files:
            remedy = f"put files there, or correct sources.{source.name}.files"
            return Finding(check, "advice", f"no file matches {project.root / source.files}", remedy)
        # A batch without its rows: whether the mapping fits the columns; each row is the run's business.
        batch = next(iter(read_batches(files[0], source)), None)
        if batch is not None:
            engine.map_batch(batch.table.slice(0, 0), batch.absent_is_null)
    except UnreadableFileError as error:
        return Finding(check, "wrong", f"{files[0]}: {error.reason}")
    except (ConnectorError, ProjectError) as error:
        return Finding(check, "wrong", str(error))
    return Finding(check, "ok", f"{len(files):,} files, mapped by {source.mapping}")


#: Every check, in the order in which a newcomer would look.
CHECKS: tuple[Callable[[Place], Iterator[Finding]], ...] = (
    check_python,
    check_packages,
    check_contracts,
    check_home,
    check_store,
    check_key,
    check_files,
    check_project,
)
