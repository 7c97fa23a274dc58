"""The published snapshot: atomic, repeatable, repaired after a kill, and kept by those who read it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from tests.warehouse.filling import AS_OF, frame
from warehouse.definitions import (
    WORKING_COPY,
    WarehouseVersionError,
    create_warehouse,
    open_warehouse,
    write_frames,
)
from warehouse.snapshot import SNAPSHOT, SnapshotError, ensure_snapshot, publish_snapshot

ROOT = Path(__file__).parents[2]


def commit(connection: duckdb.DuckDBPyConnection, number: int) -> None:
    """Commit one publication with as many exposures."""
    connection.execute("BEGIN")
    create_warehouse(connection)
    publication = {
        "publication_id": f"p{number}",
        "published_at": AS_OF + timedelta(hours=number),
        "facts": number,
    }
    exposure = {"event_id": f"x{number}", "channel": "radio", "count": number, "source": "test"}
    write_frames(
        connection,
        {"publications": frame("publications", [publication]), "exposures": frame("exposures", [exposure])},
    )
    connection.execute("COMMIT")


def exposures(home: Path) -> int:
    with duckdb.connect(str(home / SNAPSHOT), read_only=True) as connection:
        return len(connection.execute("FROM journey.exposures").fetchall())


def publish(home: Path, number: int) -> None:
    with open_warehouse(home / WORKING_COPY) as connection:
        commit(connection, number)
        connection.execute("CHECKPOINT")
        publish_snapshot(home)


def test_a_reader_keeps_the_old_one_and_a_new_reader_gets_the_new_one(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    reading = duckdb.connect(str(tmp_path / SNAPSHOT), read_only=True)
    reading.execute("BEGIN")
    assert len(reading.execute("FROM journey.exposures").fetchall()) == 1
    publish(tmp_path, 2)
    assert len(reading.execute("FROM journey.exposures").fetchall()) == 1
    reading.close()
    assert exposures(tmp_path) == 2


def test_it_is_published_while_the_process_goes_on_writing_and_keeps_its_lock(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / WORKING_COPY) as connection:
        commit(connection, 1)
        assert ensure_snapshot(tmp_path, connection) is True
        assert ensure_snapshot(tmp_path, connection) is False
        other = subprocess.run(
            [sys.executable, "-c", f"import duckdb; duckdb.connect({str(tmp_path / WORKING_COPY)!r})"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert other.returncode != 0
        assert "lock" in other.stderr
        commit(connection, 2)
        assert ensure_snapshot(tmp_path, connection) is True
    assert exposures(tmp_path) == 2


def test_nothing_published_is_nothing_to_do(tmp_path: Path) -> None:
    assert ensure_snapshot(tmp_path) is False
    with open_warehouse(tmp_path / WORKING_COPY) as connection:
        create_warehouse(connection)
    assert ensure_snapshot(tmp_path) is False
    assert not (tmp_path / SNAPSHOT).exists()


@pytest.mark.parametrize("damage", ["deleted", "truncated", "rubbish"])
def test_a_lost_or_damaged_snapshot_is_made_again(tmp_path: Path, damage: str) -> None:
    publish(tmp_path, 1)
    snapshot = tmp_path / SNAPSHOT
    if damage == "deleted":
        snapshot.unlink()
    elif damage == "truncated":
        os.truncate(snapshot, 5000)
    else:
        snapshot.write_bytes(b"rubbish" * 1000)
    assert ensure_snapshot(tmp_path) is True
    assert exposures(tmp_path) == 1


def test_changes_that_are_not_checkpointed_are_refused(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / WORKING_COPY) as connection:
        commit(connection, 1)
        with pytest.raises(SnapshotError, match="not checkpointed"):
            publish_snapshot(tmp_path)


def test_where_the_copy_fails_the_old_snapshot_stays(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    (tmp_path / WORKING_COPY).rename(tmp_path / "elsewhere")
    with pytest.raises(SnapshotError, match="The snapshot before stays readable"):
        publish_snapshot(tmp_path)
    assert exposures(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", SNAPSHOT]


FULL_DISK = """
import resource, sys
from pathlib import Path
from warehouse.snapshot import SnapshotError, publish_snapshot
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    publish_snapshot(Path(sys.argv[1]))
except SnapshotError as error:
    print(error)
"""


def test_a_full_disk_is_told_and_the_old_snapshot_stays(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "The snapshot before stays readable; make room" in told
    assert exposures(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {WORKING_COPY, SNAPSHOT}


def test_a_snapshot_of_a_newer_version_is_not_overwritten(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    with duckdb.connect(str(tmp_path / SNAPSHOT)) as connection:
        connection.execute("UPDATE journey.warehouse_version SET version = version + 1")
    with pytest.raises(WarehouseVersionError):
        ensure_snapshot(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.warehouse.test_snapshot import commit
from warehouse import snapshot
from warehouse.definitions import WORKING_COPY, open_warehouse

home, moment = Path(sys.argv[1]), sys.argv[2]
connection = open_warehouse(home / WORKING_COPY)
commit(connection, 2)
if moment == "before checkpoint":
    os.kill(os.getpid(), signal.SIGKILL)
connection.execute("CHECKPOINT")
if moment == "before copy":
    os.kill(os.getpid(), signal.SIGKILL)
copy = snapshot._copy
def dying(source, target):
    copy(source, target)
    if moment == "half copy":
        os.truncate(target, target.stat().st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)
snapshot._copy = dying
snapshot.publish_snapshot(home)
"""


@pytest.mark.parametrize("moment", ["before checkpoint", "before copy", "half copy", "before rename"])
def test_a_kill_between_commit_and_rename_is_repaired(tmp_path: Path, moment: str) -> None:
    publish(tmp_path, 1)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert exposures(tmp_path) == 1
    assert ensure_snapshot(tmp_path) is True
    assert exposures(tmp_path) == 2
    assert ensure_snapshot(tmp_path) is False
    assert {path.name for path in tmp_path.iterdir()} == {WORKING_COPY, SNAPSHOT}


PUBLISHING = """
import sys
from pathlib import Path
from tests.warehouse.test_snapshot import commit
from warehouse.definitions import WORKING_COPY, open_warehouse
from warehouse.snapshot import ensure_snapshot

home = Path(sys.argv[1])
with open_warehouse(home / WORKING_COPY) as connection:
    for number in range(int(sys.argv[2]), 1_000_000):
        commit(connection, number)
        ensure_snapshot(home, connection)
"""


@pytest.mark.faults
def test_at_whatever_moment_a_run_dies_a_reader_sees_a_whole_publication(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHING, str(tmp_path), str(1000 * (attempt + 1))], cwd=ROOT
        )
        before = (tmp_path / SNAPSHOT).stat().st_ino
        deadline = time.monotonic() + 60
        while (tmp_path / SNAPSHOT).stat().st_ino == before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.037 * attempt)
        process.kill()
        process.wait()
        seen = exposures(tmp_path)
        ensure_snapshot(tmp_path)
        with duckdb.connect(str(tmp_path / SNAPSHOT), read_only=True) as connection:
            published = connection.execute("SELECT count(*) FROM journey.publications").fetchall()[0][0]
        assert seen <= exposures(tmp_path) == published
