"""Backup and restore of a home: store, working copy, bus, registry of files, dead letters and the hashing key.

The archive is a tar file, compressed by zstandard (`.tar.zst`) or gzip (`.tar.gz`). Its first member says which format
it has and what is not in it; its last one lists every file with mode, size, and the SHA-256 of the bytes that were
written. What a run makes anew (the published snapshot, drafts, locks, staging) is left out, and so is what only means
something where the parts run (process numbers, logs, Flink's state).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa
from pydantic import BaseModel, TypeAdapter

from warehouse.files import DRAFT_MARK, draft_of, put_in_place
from warehouse.lock import BUS_LOCK_FILE, LOCK_FILE, home_lock
from warehouse.snapshot import SNAPSHOT, ensure_snapshot

MANIFEST = "manifest.json"
FILES = "milepost.files.json"
#: Format 1 had the list of files in its first member.
FORMAT = 2
_COMPRESSIONS = {".tar.zst": "zstd", ".tar.gz": "gzip"}
_LEFT_OUT = {LOCK_FILE, BUS_LOCK_FILE, SNAPSHOT, f"{SNAPSHOT}.wal"}
#: Folders of a home that are never backed up: staging, logs and process numbers, Flink's state and room.
_FOLDERS_LEFT_OUT = {"staging", "run", "flink"}
_BLOCK = 1 << 20


class BackupError(RuntimeError):
    """A backup can't be made, read or restored; the message says why and what helps."""


class BackedUpFile(BaseModel):
    """A file in an archive: its path in the home, permission bits, bytes and checksum."""

    path: str
    mode: int
    size: int
    sha256: str


class Manifest(BaseModel):
    """What an archive holds, and what is not in it: a folder of the home or something elsewhere → why."""

    format: int = FORMAT
    files: list[BackedUpFile]
    left_out: dict[str, str] = {}


#: Says what can't be backed up at present: a folder of the home that is being written, or something elsewhere → why.
LeftOut = Callable[[], Mapping[str, str]]


def backup(home: Path, target: Path, left_out: LeftOut = dict) -> Manifest:
    """Write the home's files to a new archive, readable by its owner only, and give what it holds.

    It holds the home's lock and the bus's meanwhile. `left_out` is asked before and behind: what begins to be written
    in between would be torn.

    Raises:
        BackupError: an unknown ending, an existing target, an empty home, a failing disk, or a folder that somebody
            began to write meanwhile; no half archive is left.
        HomeBusyError: a run works in the home, or facts are brought to its bus.
    """
    compression = _compression(target)
    if target.exists():
        raise BackupError(f"{target} exists. Choose another name: a backup overwrites nothing.")
    if not home.is_dir():
        raise BackupError(f"There is no home {home} to back up.")
    if target.absolute().is_relative_to(home.absolute()):
        raise BackupError(f"{target} lies in the home. Keep backups outside of {home}.")
    with home_lock(home, "backup"), home_lock(home, "backup", file=BUS_LOCK_FILE):
        missing = dict(left_out())
        paths = list(_files(home, missing))
        if not paths:
            raise BackupError(f"{home} holds nothing to back up.")
        manifest = Manifest(files=[], left_out=missing)
        draft = draft_of(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.touch(mode=0o600)
            with _writing(draft, compression) as archive:
                _add_json(archive, MANIFEST, manifest.model_dump())
                manifest.files.extend(_add_files(archive, home, paths))
                _add_json(archive, FILES, [file.model_dump() for file in manifest.files])
            _check_nobody_began(missing, left_out())
            put_in_place(draft, target)
        except OSError as error:
            raise BackupError(
                f"Could not write {target}: {error}. Make room or choose another place."
            ) from error
        finally:
            draft.unlink(missing_ok=True)
    return manifest


def _check_nobody_began(before: Mapping[str, str], behind: Mapping[str, str]) -> None:
    began = sorted(set(behind) - set(before))
    if began:
        raise BackupError(
            f"{', '.join(began)}: somebody began to write there while it was copied. Make the backup again."
        )


def restore(archive: Path, home: Path) -> Manifest:
    """Bring a backup's files into an absent or empty home, publish its snapshot, and give what was restored.

    Every file is checked against its checksum before anything is in place. Raises `BackupError` where the home holds
    something, or the archive is damaged or no backup; the home is then as before.
    """
    compression, home = _compression(archive), home.resolve()
    if not archive.is_file():
        raise BackupError(f"There is no backup {archive}.")
    if home.exists() and any(path.name != LOCK_FILE for path in home.iterdir()):
        raise BackupError(
            f"{home} is not empty. Restore into a new folder, or move what is there away first."
        )
    home.parent.mkdir(parents=True, exist_ok=True)
    draft = home.with_name(f".{home.name}{DRAFT_MARK}{uuid.uuid4().hex}")
    draft.mkdir(mode=0o700)
    try:
        manifest = _unpack(archive, compression, draft)
        if home.exists():
            shutil.rmtree(home)
        draft.rename(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    ensure_snapshot(home)
    return manifest


def _compression(path: Path) -> str:
    for ending, compression in _COMPRESSIONS.items():
        if path.name.endswith(ending):
            return compression
    raise BackupError(f"{path}: a backup's name ends with {' or '.join(_COMPRESSIONS)}.")


def _files(home: Path, missing: Mapping[str, str]) -> Iterator[Path]:
    folders = _FOLDERS_LEFT_OUT | set(missing)
    for top in sorted(home.iterdir()):
        if top.name in folders:
            continue
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if (
                path.is_file()
                and not path.is_symlink()
                and str(path.relative_to(home)) not in _LEFT_OUT
                and DRAFT_MARK not in path.name
            ):
                yield path


@contextmanager
def _writing(path: Path, compression: str) -> Iterator[tarfile.TarFile]:
    with (
        pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), compression) as stream,
        tarfile.open(fileobj=_file(stream), mode="w|") as archive,
    ):
        yield archive


def _file(stream: Any) -> IO[bytes]:
    """Give an Arrow stream as the file that `tarfile` expects."""
    file: IO[bytes] = stream
    return file


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        block = self._file.read(size)
        self.digest.update(block)
        return block


def _add_files(archive: tarfile.TarFile, home: Path, paths: list[Path]) -> Iterator[BackedUpFile]:
    for path in paths:
        try:
            opened = path.open("rb")
        except FileNotFoundError:
            # Retention clears payloads that are too old at any time.
            continue
        with opened as file:
            state = os.fstat(file.fileno())
            member = tarfile.TarInfo(path.relative_to(home).as_posix())
            member.size, member.mode, member.mtime = state.st_size, state.st_mode & 0o777, int(state.st_mtime)
            hashing = _Hashing(file)
            archive.addfile(member, _file(hashing))
        yield BackedUpFile(
            path=member.name, mode=member.mode, size=member.size, sha256=hashing.digest.hexdigest()
        )


def _add_json(archive: tarfile.TarFile, name: str, document: object) -> None:
    content = json.dumps(document, indent=1).encode()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


def _unpack(archive: Path, compression: str, folder: Path) -> Manifest:
    try:
        with (
            pa.CompressedInputStream(pa.OSFile(str(archive), "rb"), compression) as stream,
            tarfile.open(fileobj=_file(stream), mode="r|") as members,
        ):
            manifest = _read_manifest(archive, members)
            written, listed = _unpack_files(archive, members, folder)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BackupError(f"{archive} can't be read to its end: {error}. Use another backup.") from error
    if manifest.format > 1:
        if listed is None:
            raise BackupError(f"{archive} lacks its {FILES}: it was cut off. Use another backup.")
        manifest.files = listed
    _check(archive, manifest, written, folder)
    return manifest


def _read_manifest(archive: Path, members: tarfile.TarFile) -> Manifest:
    first = members.next()
    content = members.extractfile(first) if first and first.name == MANIFEST else None
    if content is None:
        raise BackupError(f"{archive} is no backup of Milepost: it does not begin with {MANIFEST}.")
    try:
        manifest = Manifest.model_validate_json(content.read())
    except ValueError as error:
        raise BackupError(f"{archive}: its {MANIFEST} is damaged. Use another backup.") from error
    if manifest.format > FORMAT:
        raise BackupError(f"{archive} was written by a newer Milepost. Install that one to restore it.")
    return manifest


def _unpack_files(
    archive: Path, members: tarfile.TarFile, folder: Path
) -> tuple[dict[str, str], list[BackedUpFile] | None]:
    """Write members below a folder; give the checksum of each by its path, and the list of files if it comes."""
    written: dict[str, str] = {}
    listed = None
    while member := members.next():
        content = members.extractfile(member) if member.isreg() else None
        if content is None or not _is_inside(member.name) or member.name in written or listed is not None:
            raise BackupError(f"{archive} holds {member.name!r}, which no backup holds. Use another backup.")
        if member.name == FILES:
            listed = _read_files(archive, content)
        else:
            written[member.name] = _write(content, folder / member.name)
    return written, listed


def _read_files(archive: Path, content: IO[bytes]) -> list[BackedUpFile]:
    try:
        return TypeAdapter(list[BackedUpFile]).validate_json(content.read())
    except ValueError as error:
        raise BackupError(f"{archive}: its {FILES} is damaged. Use another backup.") from error


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _write(content: IO[bytes], target: Path) -> str:
    """Write a file for its owner alone, and give its SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    hashing = _Hashing(content)
    target.touch(mode=0o600)
    with target.open("wb") as out:
        while block := hashing.read(_BLOCK):
            out.write(block)
    return hashing.digest.hexdigest()


def _check(archive: Path, manifest: Manifest, written: Mapping[str, str], folder: Path) -> None:
    """Compare what was written with the list, and give each file its rights."""
    expected = {file.path: file for file in manifest.files}
    for path, digest in written.items():
        file = expected.pop(path, None)
        if file is None:
            raise BackupError(f"{archive} holds {path!r}, which its list of files does not have.")
        if digest != file.sha256:
            raise BackupError(f"{archive}: {path} is damaged: its checksum differs. Use another backup.")
        (folder / path).chmod(file.mode)
    if expected:
        raise BackupError(f"{archive} lacks {', '.join(sorted(expected)[:5])}. Use another backup.")
