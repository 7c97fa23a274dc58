"""The published snapshot: a copy of the working copy that BI tools open while the next run writes.

The working copy changes in one transaction; then the snapshot is replaced by an atomic rename. A process that dies
between the two leaves an old snapshot, which `ensure_snapshot` finds by comparing publications, and repairs.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import duckdb

from warehouse.definitions import WORKING_COPY, WarehouseVersionError, open_warehouse, single_value
from warehouse.files import draft_of, put_in_place, remove_drafts

SNAPSHOT = "warehouse.duckdb"

#: What tells one published state from another: the last publication, and the definitions of tables and views.
_STATE = """
    SELECT concat_ws(' ',
        (SELECT max(version) || ' ' || max(definitions) FROM journey.warehouse_version),
        (SELECT publication_id FROM journey.publications ORDER BY published_at DESC, publication_id DESC LIMIT 1),
        -- Dead letters are written outside of publications, and show in the snapshot all the same.
        (SELECT count(*) || ' ' || count(*) FILTER (status = 'open') FROM journey.dead_letters)
    )
"""


class SnapshotError(RuntimeError):
    """The snapshot could not be made; the message says why and what helps."""


def publish_snapshot(home: Path) -> Path:
    """Replace the snapshot with a fresh copy of the working copy, and give its path.

    The working copy must be checkpointed, with no transaction under way. Whoever has the old snapshot open goes on
    reading it. Raises `SnapshotError` where the copy fails, such as on a full disk; the old snapshot then stays.
    """
    working, target = home / WORKING_COPY, home / SNAPSHOT
    remove_drafts(target)
    log = working.with_name(working.name + ".wal")
    if log.exists() and log.stat().st_size:
        raise SnapshotError(
            f"{working} has changes that are not checkpointed. Checkpoint it before publishing."
        )
    draft = draft_of(target)
    try:
        _copy(working, draft)
        put_in_place(draft, target)
    except OSError as error:
        raise SnapshotError(
            f"Could not publish {target}: {error}. The snapshot before stays readable; make room or mend the folder,"
            " and run again."
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return target


def _copy(source: Path, target: Path) -> None:
    """Copy a file in a process of its own.

    DuckDB's lock on the working copy belongs to the process, and goes when the process closes any handle of the
    file: a copy made here would let another writer in.
    """
    command = ["cp", "--", str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise OSError(done.stderr.strip() or f"cp ended with {done.returncode}")


def snapshot_state(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Give what tells this published state from others; None where there is no publication."""
    try:
        published = single_value(connection, "SELECT count(*) FROM journey.publications")
        return single_value(connection, _STATE) if published else None
    except duckdb.CatalogException:
        return None


def _state_of_file(path: Path) -> str | None:
    try:
        with open_warehouse(path, read_only=True) as connection:
            return snapshot_state(connection)
    except WarehouseVersionError:
        raise
    except duckdb.Error:
        # A damaged snapshot is replaced like an old one.
        return None


def ensure_snapshot(home: Path, connection: duckdb.DuckDBPyConnection | None = None) -> bool:
    """Make the snapshot that of the last publication, and say whether that took a repair.

    `connection` is one to the working copy where the process has it open already, outside a transaction.
    Without a publication there is nothing to do. Drafts that killed processes left are deleted.
    Raises `WarehouseVersionError` for files of a newer version, `SnapshotError` where the copy fails.
    """
    target = home / SNAPSHOT
    remove_drafts(target)
    if connection is not None:
        return _repair(home, connection)
    if not (home / WORKING_COPY).exists():
        return False
    # Opening replays what a killed process had committed; closing writes it to the file.
    with open_warehouse(home / WORKING_COPY) as opened:
        return _repair(home, opened)


def _repair(home: Path, connection: duckdb.DuckDBPyConnection) -> bool:
    target = home / SNAPSHOT
    state = snapshot_state(connection)
    if state is None or (target.exists() and _state_of_file(target) == state):
        return False
    connection.execute("CHECKPOINT")
    publish_snapshot(home)
    return True
