"""Which files have become which facts: an append-only record that a crash at any moment leaves usable."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from connectors.sync import sync_folder

REGISTRY_FILE = "registry.jsonl"


@dataclass(frozen=True)
class Seen:
    """A content was met for the first time: `received_at` (microseconds, UTC) is that of its rows for ever."""

    source: str
    sha256: str
    path: str
    received_at: int
    entry: Literal["seen"] = "seen"


@dataclass(frozen=True)
class Ingested:
    """A content was mapped: its bus files are complete.

    `status`: `complete`, or `partial` where the file could not be read or mapped to its end (`error` says
    why); a partial one is tried again by the next run. `files`: names of bus files by type of fact, dead
    letters among them. `counts`: fates, see `pipelines.ingest`.
    """

    source: str
    sha256: str
    mapping_version: str
    path: str
    status: Literal["complete", "partial"] = "complete"
    error: str | None = None
    files: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    run: str = ""
    entry: Literal["ingested"] = "ingested"


@dataclass(frozen=True)
class Registry:
    """The record as it stood when it was loaded."""

    entries: tuple[Seen | Ingested, ...]

    @cached_property
    def _first_seen(self) -> dict[str, int]:
        first: dict[str, int] = {}
        for entry in self.entries:
            if isinstance(entry, Seen):
                first.setdefault(entry.sha256, entry.received_at)
        return first

    @cached_property
    def standing(self) -> dict[tuple[str, str], Ingested]:
        """The last entry of each (source, content): the one whose facts stand."""
        return {(entry.source, entry.sha256): entry for entry in self.entries if isinstance(entry, Ingested)}

    def received_at(self, sha256: str) -> int | None:
        """Give the time at which a content was first registered (microseconds, UTC)."""
        return self._first_seen.get(sha256)

    def knows(self, source: str, sha256: str, mapping_version: str) -> bool:
        """Say whether the content has been read whole and its standing facts come from this mapping version."""
        entry = self.standing.get((source, sha256))
        return entry is not None and entry.status == "complete" and entry.mapping_version == mapping_version

    def current_names(self, fact: str) -> list[str]:
        """Name the bus files of a type of fact (or `dead_letter`) that stand."""
        return sorted({name for entry in self.standing.values() for name in entry.files.get(fact, [])})

    def superseded_names(self, fact: str) -> list[str]:
        """Name the bus files whose contents have been mapped again since."""
        every = {
            name
            for entry in self.entries
            if isinstance(entry, Ingested)
            for name in entry.files.get(fact, [])
        }
        return sorted(every - set(self.current_names(fact)))


def load_registry(bus_folder: Path) -> Registry:
    """Load the record; a line that a crash cut short never happened."""
    file = bus_folder / REGISTRY_FILE
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return Registry(())
    return Registry(tuple(_entries(content)))


def _entries(content: bytes) -> Iterator[Seen | Ingested]:
    for line in content.split(b"\n"):
        try:
            fields: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        yield Seen(**fields) if fields["entry"] == "seen" else Ingested(**fields)


def append_entries(bus_folder: Path, entries: Iterable[Seen | Ingested]) -> None:
    """Append entries and bring them to the disk; call it after the bus files they name are there."""
    lines = [json.dumps(asdict(entry), sort_keys=True).encode() + b"\n" for entry in entries]
    if not lines:
        return
    bus_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = bus_folder / REGISTRY_FILE
    is_new = not file.exists()
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        content = (b"\n" if torn else b"") + b"".join(lines)
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_folder(bus_folder)
