"""The fates of an ingest run: nothing is dropped in silence."""

from __future__ import annotations

from dataclasses import dataclass, field

from connectors.registry import Ingested


@dataclass
class SourceFates:
    """What became of a source's files, records and facts in a run.

    Records: `received = mapped + filtered + rejected`. Facts, by type: `yielded = written + rejected_facts`.
    `failed`: files that could not be read or mapped to their end, with the reason.
    """

    name: str
    files_read: int = 0
    files_known: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    received: int = 0
    mapped: int = 0
    filtered: int = 0
    rejected: int = 0
    yielded: dict[str, int] = field(default_factory=dict)
    rejected_facts: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    dead_letters: int = 0
    warnings: list[str] = field(default_factory=list)

    def add(self, entry: Ingested) -> None:
        """Add a file."""
        counts = entry.counts
        self.files_read += 1
        self.received += counts.get("read", 0)
        self.mapped += counts.get("mapped", 0)
        self.filtered += counts.get("filtered", 0)
        self.rejected += counts.get("rejected", 0)
        self.dead_letters += counts.get("dead_letters", 0)
        for prefix, into in (
            ("yielded.", self.yielded),
            ("fact_rejects.", self.rejected_facts),
            ("written.", self.written),
        ):
            for name, count in counts.items():
                if name.startswith(prefix):
                    fact = name.removeprefix(prefix)
                    into[fact] = into.get(fact, 0) + count
        if entry.error is not None:
            self.failed[entry.path] = entry.error

    def check(self) -> None:
        """Hold the counts against each other; raises AssertionError where a record or fact has no fate."""
        if self.received != self.mapped + self.filtered + self.rejected:
            raise AssertionError(
                f"{self.name}: {self.received} records received, but {self.mapped} mapped, "
                f"{self.filtered} filtered and {self.rejected} rejected"
            )
        for fact, count in self.yielded.items():
            if count != self.written.get(fact, 0) + self.rejected_facts.get(fact, 0):
                raise AssertionError(f"{self.name}: {count} {fact} facts yielded, but not all have a fate")


@dataclass
class IngestReport:
    """The fates of a run by source."""

    run: str
    sources: dict[str, SourceFates] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every file was read and mapped to its end."""
        return not any(source.failed for source in self.sources.values())

    @property
    def failures(self) -> list[str]:
        """One line per file that failed: source, file, reason."""
        return [
            f"{source.name}: {path}: {reason}"
            for source in self.sources.values()
            for path, reason in source.failed.items()
        ]
