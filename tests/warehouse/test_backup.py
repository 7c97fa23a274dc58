"""Backup and restore: everything comes back with its rights, and damage is found before anything is in place."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
from pathlib import Path

import pytest

from tests.warehouse.test_snapshot import exposures, publish
from warehouse.backup import FILES, MANIFEST, BackupError, backup, restore
from warehouse.lock import BUS_LOCK_FILE, HomeBusyError, home_lock
from warehouse.snapshot import SNAPSHOT


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    publish(home, 1)
    (home / "hashing.key").write_bytes(b"secret" * 8)
    (home / "hashing.key").chmod(0o600)
    (home / "bus" / "facts").mkdir(parents=True)
    (home / "bus" / "facts" / "0001.avro").write_bytes(bytes(range(256)) * 10_000)
    (home / "empty").touch()
    (home / "warehouse.duckdb.draft-1").write_text("left by a killed process")
    return home


def contents(home: Path) -> dict[str, bytes]:
    left_out = {SNAPSHOT, "run.lock", BUS_LOCK_FILE, "warehouse.duckdb.draft-1"}
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and path.name not in left_out
    }


@pytest.mark.parametrize("ending", [".tar.zst", ".tar.gz"])
def test_everything_comes_back_with_its_rights_and_the_snapshot_is_published(
    home: Path, tmp_path: Path, ending: str
) -> None:
    archive, other = tmp_path / f"milepost{ending}", tmp_path / "other"
    made = backup(home, archive)
    assert archive.stat().st_mode & 0o777 == 0o600
    assert restore(archive, other) == made
    assert contents(other) == contents(home)
    assert (other / "hashing.key").stat().st_mode & 0o777 == 0o600
    assert exposures(other) == 1
    assert not list(tmp_path.glob(".other*"))


def test_a_home_that_holds_something_is_not_overwritten(home: Path, tmp_path: Path) -> None:
    archive = tmp_path / "b.tar.zst"
    backup(home, archive)
    before = contents(home)
    with pytest.raises(BackupError, match="is not empty"):
        restore(archive, home)
    assert contents(home) == before
    empty = tmp_path / "empty"
    empty.mkdir()
    restore(archive, empty)
    assert contents(empty) == before


def test_a_backup_overwrites_nothing_and_keeps_out_of_the_home(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.tar.gz"
    target.write_text("precious")
    with pytest.raises(BackupError, match="exists"):
        backup(home, target)
    assert target.read_text() == "precious"
    with pytest.raises(BackupError, match="lies in the home"):
        backup(home, home / "b.tar.gz")
    with pytest.raises(BackupError, match=r"ends with \.tar\.zst or \.tar\.gz"):
        backup(home, tmp_path / "b.zip")
    with pytest.raises(BackupError, match="no home"):
        backup(tmp_path / "nowhere", tmp_path / "c.tar.gz")


def test_a_backup_waits_for_no_run(home: Path, tmp_path: Path) -> None:
    for lock in ("run.lock", BUS_LOCK_FILE):
        with home_lock(home, file=lock), pytest.raises(HomeBusyError):
            backup(home, tmp_path / "b.tar.zst")
    assert not list(tmp_path.glob("b.tar.zst*"))


@pytest.mark.parametrize("ending", [".tar.zst", ".tar.gz"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_archive_is_refused_and_leaves_nothing(
    home: Path, tmp_path: Path, ending: str, share: float
) -> None:
    archive, other = tmp_path / f"b{ending}", tmp_path / "other"
    backup(home, archive)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BackupError, match="backup"):
        restore(archive, other)
    assert not other.exists()
    assert not list(tmp_path.glob(".other*"))


def test_what_is_being_written_is_not_in_it_and_it_says_so(home: Path, tmp_path: Path) -> None:
    for folder in ("kafka", "spool", "run", "flink", "staging"):
        (home / folder).mkdir()
        (home / folder / "file").write_text(folder)
    archive, other = tmp_path / "b.tar.zst", tmp_path / "other"
    why = {"kafka": "Kafka runs", "postgresql://db/milepost": "is a database"}
    backup(home, archive, lambda: why)
    restored = restore(archive, other)
    assert restored.left_out == why
    assert sorted(path.parent.name for path in other.rglob("file")) == ["spool"]


def test_what_begins_to_be_written_meanwhile_ends_the_backup(home: Path, tmp_path: Path) -> None:
    answers = iter([{}, {"kafka": "Kafka runs"}])
    with pytest.raises(BackupError, match="kafka: somebody began to write"):
        backup(home, tmp_path / "b.tar.zst", lambda: next(answers))
    assert not list(tmp_path.glob("b.tar.zst*"))


def test_files_that_grow_meanwhile_are_restored_as_they_were_written(home: Path, tmp_path: Path) -> None:
    growing = home / "growing.log"
    growing.write_bytes(b"x" * 1_000_000)
    stop = threading.Event()

    def grow() -> None:
        with growing.open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"y" * 1_000)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        backup(home, tmp_path / "b.tar.zst")
    finally:
        stop.set()
        writer.join()
    restore(tmp_path / "b.tar.zst", tmp_path / "other")
    restored = (tmp_path / "other" / "growing.log").read_bytes()
    assert growing.read_bytes().startswith(restored)


def rewritten(archive: Path, change: dict[str, bytes]) -> None:
    """Write the archive again with members replaced or added."""
    with tarfile.open(archive) as old:
        members = {m.name: (f.read() if (f := old.extractfile(m)) else b"") for m in old.getmembers()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as new:
        for name, content in (members | change).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    archive.write_bytes(gzip.compress(out.getvalue()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hashing.key": b"forged"}, r"hashing\.key is damaged"),
        ({"../outside": b"x"}, "no backup holds"),
        ({"more": b"x"}, "no backup holds"),
        ({FILES: b"[]"}, "does not have"),
        ({FILES: b"not JSON"}, "is damaged"),
        ({MANIFEST: b'{"format": 1, "files": []}'}, "does not have"),
        ({MANIFEST: b"not JSON"}, "is damaged"),
        ({MANIFEST: b'{"format": 99, "files": []}'}, "newer Milepost"),
    ],
)
def test_a_forged_archive_is_refused(
    home: Path, tmp_path: Path, change: dict[str, bytes], message: str
) -> None:
    archive, other = tmp_path / "b.tar.gz", tmp_path / "other"
    backup(home, archive)
    rewritten(archive, change)
    with pytest.raises(BackupError, match=message):
        restore(archive, other)
    assert not other.exists()
    assert not (tmp_path / "outside").exists()


def test_another_tar_file_is_no_backup(tmp_path: Path) -> None:
    archive = tmp_path / "b.tar.gz"
    with tarfile.open(archive, "w:gz") as other:
        other.addfile(tarfile.TarInfo("readme"))
    with pytest.raises(BackupError, match="is no backup"):
        restore(archive, tmp_path / "other")
    with pytest.raises(BackupError, match="There is no backup"):
        restore(tmp_path / "none.tar.gz", tmp_path / "other")
