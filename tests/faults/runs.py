"""Runs of the real command line in processes of their own, and what they leave behind."""

from __future__ import annotations

import fcntl
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from warehouse.definitions import WORKING_COPY, open_warehouse
from warehouse.digest import table_digests
from warehouse.snapshot import SNAPSHOT

ROOT = Path(__file__).parents[2]
MILEPOST = ("-m", "milepost")

Shared = TypeVar("Shared")


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Shared]) -> Shared:
    """Make something in a folder once per session; the workers of a parallel session share it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    found = folder / f"{name}.pickle"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            (folder / name).mkdir()
            found.write_bytes(pickle.dumps(make(folder / name)))
    loaded: Shared = pickle.loads(found.read_bytes())
    return loaded


@dataclass(frozen=True)
class Place:
    """A project and its home."""

    project: Path
    home: Path

    def copy(self, folder: Path) -> Place:
        """Copy both into a folder; the copy of the home belongs to the copy of the project."""
        shutil.copytree(self.project, folder / "project")
        shutil.copytree(self.home, folder / "home")
        (folder / "home" / "project.json").unlink(missing_ok=True)
        return Place(folder / "project", folder / "home")


def start(
    place: Place,
    *arguments: str,
    program: tuple[str, ...] = MILEPOST,
    limit: int | None = None,
) -> subprocess.Popen[str]:
    """Start `milepost ARGUMENTS` in the project; `limit` is the size that no file may exceed (a full disk)."""
    environment = {name: value for name, value in os.environ.items() if name != "MILEPOST_DEBUG"}
    environment |= {"MILEPOST_HOME": str(place.home), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    before: Callable[[], None] | None = None
    if limit is not None:
        size = limit

        def before() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=place.project,
        env=environment,
        preexec_fn=before,  # noqa: PLW1509
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def milepost(
    place: Place, *arguments: str, program: tuple[str, ...] = MILEPOST, limit: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `milepost ARGUMENTS` in the project to its end; whatever happens, nobody sees a traceback."""
    process = start(place, *arguments, program=program, limit=limit)
    stdout, stderr = process.communicate(timeout=300)
    assert "Traceback" not in stdout + stderr, stderr
    assert "unexpected" not in stderr, stderr
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def run_whole(place: Place) -> None:
    """Run to a good end."""
    done = milepost(place, "run")
    assert done.returncode == 0, done.stderr


def digests(place: Place, file: str = WORKING_COPY) -> dict[str, str]:
    """Give the digests of the tables in the working copy, or in the snapshot."""
    with open_warehouse(place.home / file, read_only=True) as connection:
        return table_digests(connection)


def letters(place: Place, status: str = "open") -> list[dict[str, Any]]:
    """Give the dead letters of a status, in order of their reasons."""
    with open_warehouse(place.home / WORKING_COPY, read_only=True) as connection:
        found = connection.execute(
            "SELECT source, step, error_class, reason, payload_ref FROM journey.dead_letters "
            "WHERE status = ? ORDER BY reason, dead_letter_id",
            [status],
        )
        names = [column[0] for column in found.description or []]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@dataclass(frozen=True)
class State:
    """What a run leaves: the tables of both files, and the dead letters."""

    working_copy: dict[str, str]
    snapshot: dict[str, str]
    letters: list[dict[str, Any]]


def state(place: Place) -> State:
    """Look at what is there; the snapshot is what the working copy is."""
    return State(digests(place), digests(place, SNAPSHOT), letters(place))
