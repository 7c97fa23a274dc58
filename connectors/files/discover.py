"""Which files a source has, and what each of them is known by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

from connectors.errors import UnreadableFileError
from milepost.project import Project
from milepost.sources import Source

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".avro": "avro",
}


@dataclass(frozen=True)
class FileState:
    """What tells whether a file has changed since it was looked at."""

    size: int
    modified_ns: int
    inode: int


def find_files(source: Source, project: Project) -> list[Path]:
    """List the source's files in order of their names; hidden ones are left out. A stream alone has none."""
    if source.files is None:
        return []
    pattern = project.root / source.files
    if pattern.is_dir():
        found = [path for path in pattern.iterdir() if path.is_file()]
    elif has_magic(source.files):
        found = [
            path
            for path in Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
            if path.is_file()
        ]
    else:
        found = [pattern]  # also if it is missing: that is told where it is read
    return sorted(path for path in found if not path.name.startswith("."))


def format_of(path: Path, source: Source) -> str:
    """Give the file's format; raises UnreadableFileError where nothing says it."""
    if source.format is not None:
        return source.format
    name = path.with_suffix("") if path.suffix == ".gz" else path
    if name.suffix.lower() not in _SUFFIXES:
        raise UnreadableFileError(
            "unknown_format",
            f"nothing says its format; set sources.{source.name}.format to csv, jsonl, parquet or avro, "
            "or name files in `files:` more closely",
        )
    return _SUFFIXES[name.suffix.lower()]


def state_of(path: Path) -> FileState:
    """Look at a file; raises UnreadableFileError where it is missing."""
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise UnreadableFileError(
            "file_missing", "there is no such file; put it there, or correct `files:`"
        ) from error
    except OSError as error:
        raise UnreadableFileError("unreadable_file", f"can't be read: {error.strerror}") from error
    return FileState(found.st_size, found.st_mtime_ns, found.st_ino)


def content_hash(path: Path) -> str:
    """Hash a file's bytes with SHA-256; raises UnreadableFileError where they can't be read."""
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise UnreadableFileError(
            "file_missing", "the file has disappeared; put it back and run again"
        ) from error
    except OSError as error:
        raise UnreadableFileError("unreadable_file", f"can't be read: {error.strerror}") from error
