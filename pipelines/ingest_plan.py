"""What an ingest run is to do: the sources' settings and the files that are new."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from connectors.bus import Bus
from connectors.dead_letters import Reject
from connectors.errors import MappingError, UnreadableFileError
from connectors.files.discover import FileState, content_hash, find_files, state_of
from connectors.files.read import read_lookups
from connectors.ids import ID_DIGITS
from connectors.keys import HashingKey, Identifiers, load_key
from connectors.mapping.engine import MappingEngine
from connectors.registry import Ingested, Seen, append_entries
from milepost.project import Project, mapping_version
from milepost.sources import Source
from schemas.vocabulary import Vocabulary


@dataclass(frozen=True)
class SourceFile:
    """A file that a run reads: a content of a source under a mapping version."""

    source: str
    path: Path
    sha256: str
    state: FileState
    received_at: int
    mapping_version: str

    @property
    def key(self) -> str:
        """A key that no other file of the run has."""
        return f"{self.source}/{self.sha256}"

    @property
    def raw_id(self) -> str:
        """What it is called among raw records; its records go by their number in it."""
        return self.sha256[:ID_DIGITS]


@dataclass(frozen=True)
class StreamPart:
    """A partition of a topic of raw records; a record's number in it is its offset."""

    source: str
    topic: str
    partition: int
    received_at: int
    mapping_version: str

    @property
    def key(self) -> str:
        """A key that no other partition has."""
        return f"{self.source}/{self.raw_id}"

    @property
    def raw_id(self) -> str:
        """What it is called among raw records; its records go by their number in it."""
        return f"{self.topic}/{self.partition}"


#: Where raw records come from: both can be mapped.
RawOrigin = SourceFile | StreamPart


@dataclass(frozen=True)
class LostFile:
    """A file that could not even be looked at."""

    source: str
    path: Path
    reject: Reject


@dataclass(frozen=True)
class Plan:
    """Everything that the steps of a run need; it travels to workers."""

    project: Project
    vocabulary: Vocabulary
    key: HashingKey
    versions: dict[str, str]
    lookups: dict[str, dict[str, pa.Table]]
    received_at: int
    run: str

    @property
    def bus(self) -> Bus:
        """The bus of the project's home."""
        return Bus(self.project.home)

    def source(self, name: str) -> Source:
        """Give a source's settings."""
        return self.project.source(name)

    def engine(self, name: str) -> MappingEngine:
        """Make the engine of a source's mapping; raises MappingError where the mapping may not run."""
        source = self.source(name)
        return MappingEngine(
            file=source.mapping,
            text=self.project.mapping_sql(source),
            fact=source.fact,
            unit=source.unit,
            system=source.source_system,
            zone=source.zone,
            lookups=self.lookups[name],
            vocabulary=self.vocabulary,
        )

    def identifiers(self, name: str) -> Identifiers:
        """Give what hashes the identifiers of a source."""
        return Identifiers(
            self.vocabulary, self.key, self.project.phone_region, tuple(self.source(name).clear_text)
        )


@dataclass
class Found:
    """The files of a run."""

    new: list[SourceFile] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)
    lost: list[LostFile] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def make_plan(
    project: Project, vocabulary: Vocabulary, received_at: int, run: str, sources: tuple[str, ...] = ()
) -> Plan:
    """Read mappings, lookups and the key, and check every mapping before anything is read.

    Raises:
        ProjectError, MappingError, KeyFileError: each names the file and the remedy.
    """
    key = load_key(project.home)
    names = sources or tuple(project.sources)
    plan = Plan(
        project,
        vocabulary,
        key,
        {name: mapping_version(project.source(name), project, vocabulary, key.key_id) for name in names},
        {name: read_lookups(project.source(name), project) for name in names},
        received_at,
        run,
    )
    for name in names:
        try:
            plan.engine(name)
        except MappingError as error:
            raise MappingError(f"source {name}: {error}") from error
    return plan


def discover(plan: Plan) -> Found:
    """Find the files that are not known yet, and register their contents' time of arrival."""
    registry = plan.bus.registry()
    found = Found()
    first_seen: dict[str, Seen] = {}
    returned: list[Ingested] = []
    for name in plan.versions:
        paths = find_files(plan.source(name), plan.project)
        if not paths and plan.source(name).files is not None:
            found.empty.append(name)
        contents: set[str] = set()
        for looked in _look(name, paths):
            if isinstance(looked, LostFile):
                found.lost.append(looked)
                continue
            path, state, sha256 = looked
            version = plan.versions[name]
            lost = registry.standing.get((name, lost_key(shown_path(path, plan))))
            if lost is not None and lost.status == "partial":
                # It is back: what was said of its absence no longer stands.
                returned.append(replace(lost, status="complete", error=None, files={}))
            if sha256 in contents or registry.knows(name, sha256, version):
                found.known[name] = found.known.get(name, 0) + 1
                continue
            contents.add(sha256)
            received_at = registry.received_at(sha256)
            if received_at is None:
                received_at = plan.received_at
                first_seen.setdefault(sha256, Seen(name, sha256, str(path), received_at))
            found.new.append(SourceFile(name, path, sha256, state, received_at, version))
    append_entries(plan.bus.folder, [*first_seen.values(), *returned])
    return found


def shown_path(path: Path, plan: Plan) -> str:
    """Show a path as the project's owner knows it: relative to the project."""
    root = plan.project.root
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def lost_key(path: str) -> str:
    """Give what stands for the content of a file that could not even be looked at."""
    return f"lost:{path}"


def _look(source: str, paths: list[Path]) -> Iterator[tuple[Path, FileState, str] | LostFile]:
    for path in paths:
        try:
            state = state_of(path)
            yield path, state, content_hash(path)
        except UnreadableFileError as error:
            yield LostFile(source, path, Reject(error.error_class, error.reason, b""))
