"""Another try at files with rejected inputs, and an end to dead letters that no try can mend."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from connectors.bus import DEAD_LETTERS, Bus
from connectors.errors import UnreadableFileError
from connectors.files.discover import content_hash, find_files
from connectors.registry import append_entries
from milepost.cli.job import Job
from milepost.project import Project
from pipelines.ingest_plan import lost_key
from warehouse.definitions import WORKING_COPY, open_warehouse
from warehouse.snapshot import publish_snapshot, snapshot_state


def ask_again(job: Job, source: str | None) -> tuple[int, list[str]]:
    """Have the next ingest read the files once more that have dead letters.

    Args:
        job: the project and its home.
        source: only files of this source; all unless given.

    Returns:
        How many files are read again, and those that cannot be: they are gone, or have other content now.

    Raises:
        ProjectError: there is no such source.
    """
    if source is not None:
        job.project.source(source)
    bus = Bus(job.home)
    rejected = [
        entry
        for entry in bus.registry().standing.values()
        if entry.files.get(DEAD_LETTERS) and (source is None or entry.source == source)
    ]
    present = {name: _contents(job.project, name) for name in {entry.source for entry in rejected}}
    again = [entry for entry in rejected if entry.sha256 in present[entry.source]]
    append_entries(
        bus.folder, [replace(entry, status="partial", error="a replay was asked for") for entry in again]
    )
    # A file that could not even be opened has no content; every run looks for it anyway.
    gone = {e.path for e in rejected if e not in again and not e.sha256.startswith(lost_key(""))}
    return len(again), sorted(gone)


def _contents(project: Project, source: str) -> set[str]:
    """Give the hashes of the contents that a source has now; files that cannot be read have none."""
    found: set[str] = set()
    if source in project.sources:
        for path in find_files(project.source(source), project):
            with suppress(UnreadableFileError):
                found.add(content_hash(path))
    return found


def dismiss_letters(home: Path, letters: list[str]) -> None:
    """Mark open dead letters, by their ids, as dealt with, and show that in the snapshot; the home is locked."""
    with open_warehouse(home / WORKING_COPY) as warehouse:
        warehouse.execute(
            "UPDATE journey.dead_letters SET status = 'dismissed' "
            "WHERE status = 'open' AND list_contains(?, dead_letter_id)",
            [letters],
        )
        published = snapshot_state(warehouse) is not None
        warehouse.execute("CHECKPOINT")
    if published:
        publish_snapshot(home)
