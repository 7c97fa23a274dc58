"""Backup and restore of a home: store, working copy, bus, registry of files, dead letters and the hashing key.

The archive is a tar file, compressed by zstandard (`.tar.zst`) or gzip (`.tar.gz`). Its first member lists every file
with mode, size and SHA-256. What a run makes anew (the published snapshot, drafts, the lock) is left out.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa
from pydantic import BaseModel

from warehouse.files import DRAFT_MARK, draft_of, put_in_place
from warehouse.lock import LOCK_FILE, home_lock
from warehouse.snapshot import SNAPSHOT, ensure_snapshot

MANIFEST = "manifest.json"
FORMAT = 1
_COMPRESSIONS = {".tar.zst": "zstd", ".tar.gz": "gzip"}
_LEFT_OUT = {LOCK_FILE, SNAPSHOT, f"{SNAPSHOT}.wal"}
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
    """What an archive holds."""

    format: int = FORMAT
    files: list[BackedUpFile]


def backup(home: Path, target: Path) -> Manifest:
    """Write the home's files to a new archive, readable by its owner only, and give what it holds.

    It holds the home's lock meanwhile. Raises `BackupError` for an unknown ending, an existing target, an empty home
    or a failing disk (no half archive is left), `HomeBusyError` while a run works in the home.
    """
    compression = _compression(target)
    if target.exists():
        raise BackupError(f"{target} exists. Choose another name: a backup overwrites nothing.")
    if not home.is_dir():
        raise BackupError(f"There is no home {home} to back up.")
    if target.absolute().is_relative_to(home.absolute()):
        raise BackupError(f"{target} lies in the home. Keep backups outside of {home}.")
    with home_lock(home, "backup"):
        files = [_describe(home, path) for path in _files(home)]
        if not files:
            raise BackupError(f"{home} holds nothing to back up.")
        manifest = Manifest(files=files)
        draft = draft_of(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.touch(mode=0o600)
            with _writing(draft, compression) as archive:
                _add_manifest(archive, manifest)
                for file in manifest.files:
                    archive.add(home / file.path, arcname=file.path, recursive=False)
            put_in_place(draft, target)
        except OSError as error:
            raise BackupError(
                f"Could not write {target}: {error}. Make room or choose another place."
            ) from error
        finally:
            draft.unlink(missing_ok=True)
    return manifest


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


def _files(home: Path) -> Iterator[Path]:
    for path in sorted(home.rglob("*")):
        relative = path.relative_to(home)
        if (
            path.is_file()
            and not path.is_symlink()
            and str(relative) not in _LEFT_OUT
            and DRAFT_MARK not in path.name
        ):
            yield path


def _describe(home: Path, path: Path) -> BackedUpFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    state = path.stat()
    relative = path.relative_to(home).as_posix()
    return BackedUpFile(path=relative, mode=state.st_mode & 0o777, size=state.st_size, sha256=digest)


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


def _add_manifest(archive: tarfile.TarFile, manifest: Manifest) -> None:
    content = json.dumps(manifest.model_dump(), indent=1).encode()
    member = tarfile.TarInfo(MANIFEST)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


def _unpack(archive: Path, compression: str, folder: Path) -> Manifest:
    try:
        with (
            pa.CompressedInputStream(pa.OSFile(str(archive), "rb"), compression) as stream,
            tarfile.open(fileobj=_file(stream), mode="r|") as members,
        ):
            manifest = _read_manifest(archive, members)
            _unpack_files(archive, members, manifest, folder)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BackupError(f"{archive} can't be read to its end: {error}. Use another backup.") from error
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


def _unpack_files(archive: Path, members: tarfile.TarFile, manifest: Manifest, folder: Path) -> None:
    expected = {file.path: file for file in manifest.files}
    while member := members.next():
        file = expected.pop(member.name, None)
        content = members.extractfile(member) if file and member.isreg() else None
        if file is None or content is None or not _is_inside(file.path):
            raise BackupError(f"{archive} holds {member.name!r}, which its {MANIFEST} does not list.")
        _write_checked(archive, content, file, folder / file.path)
    if expected:
        raise BackupError(f"{archive} lacks {', '.join(sorted(expected)[:5])}. Use another backup.")


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _write_checked(archive: Path, content: IO[bytes], file: BackedUpFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    target.touch(mode=0o600)
    with target.open("wb") as out:
        while block := content.read(_BLOCK):
            digest.update(block)
            out.write(block)
    if digest.hexdigest() != file.sha256:
        raise BackupError(f"{archive}: {file.path} is damaged: its checksum differs. Use another backup.")
    target.chmod(file.mode)
