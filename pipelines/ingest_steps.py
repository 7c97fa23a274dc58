"""The steps of an ingest run as Beam sees them: one DoFn each, moving batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import apache_beam as beam
import duckdb
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from connectors.bus import DEAD_LETTERS, FACTS_PER_FILE, file_stem
from connectors.check import check_facts
from connectors.dead_letters import Place, Reject, dead_letters
from connectors.errors import MappingError, UnreadableFileError
from connectors.files.batch import RawBatch
from connectors.files.discover import state_of
from connectors.files.read import read_batches
from connectors.ids import record_digest_sql
from connectors.mapping.engine import MappingEngine
from connectors.mapping.facts import Origin, make_facts
from connectors.mapping.statement import ROW
from connectors.registry import Ingested, append_entries
from pipelines.ingest_plan import Plan, RawOrigin, SourceFile, StreamPart, shown_path
from schemas.contracts import frame_schema

REJECTED, OUTCOMES = "rejected", "outcomes"

#: Callbacks of runs in this process, by run: records read so far. Other processes' workers find none.
PROGRESS: dict[str, Callable[[int], None]] = {}

Counts = Counter[str]

#: Where records come from.
From = TypeVar("From", bound=RawOrigin)


@dataclass(frozen=True)
class RawPart(Generic[From]):
    """Raw records on their way to the mapping; see `connectors.mapping.facts.Origin` for `arrivals`."""

    file: From
    part: int
    batch: RawBatch
    occurrences: pl.DataFrame | None = None
    arrivals: pl.DataFrame | None = None


@dataclass(frozen=True)
class FactsPart(Generic[From]):
    """Facts on their way to the bus."""

    file: From
    part: int
    facts: pl.DataFrame


@dataclass(frozen=True)
class RejectedPart(Generic[From]):
    """What a step rejects of a file's part."""

    file: From
    part: int
    step: str
    rejects: list[Reject]


@dataclass(frozen=True)
class Outcome(Generic[From]):
    """What became of a part: counts, bus files by type of fact, and the fault that stopped the file, if any."""

    file: From
    counts: Counts = field(default_factory=Counter)
    files: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None


def counted(file: RawOrigin, counts: dict[str, int], error: str | None = None) -> TaggedOutput:
    """Report counts (and a fault) of a file."""
    return TaggedOutput(OUTCOMES, (file.key, Outcome(file, Counter(counts), {}, error)))


def rejected(file: RawOrigin, part: int, step: str, rejects: list[Reject]) -> TaggedOutput:
    """Send what a step rejects to the dead letters."""
    return TaggedOutput(REJECTED, RejectedPart(file, part, step, rejects))


class ReadFile(beam.DoFn):  # type: ignore[misc]
    """Reads a file in batches; an unreadable one is one reject, and what came before it goes on."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def process(self, file: SourceFile) -> Iterator[Any]:
        """Yield RawPart; rejects and counts aside."""
        source = self.plan.source(file.source)
        occurrences = _Occurrences(source.source_system) if source.identical_rows == "keep" else None
        yield counted(file, {})
        part = 0
        whole: list[pa.Table] = []
        seen = 0
        try:
            for batch in read_batches(file.path, source):
                part += 1
                seen += batch.received
                if batch.rejects:
                    yield rejected(file, part, "read", batch.rejects)
                yield counted(
                    file,
                    {
                        "read": batch.received,
                        "rejected": len(batch.rejects),
                    },
                )
                self._progress(batch.received)
                if source.unit == "file":
                    whole.append(batch.table)
                else:
                    yield RawPart(file, part, batch, occurrences.of(batch.table) if occurrences else None)
            if state_of(file.path) != file.state:
                raise UnreadableFileError("file_changed", "the file changed while it was read; run again")
        except UnreadableFileError as error:
            lost = sum(table.num_rows for table in whole)
            yield rejected(file, 0, "read", [Reject(error.error_class, error.reason, b"")])
            yield counted(file, {"rejected": lost}, f"{error.error_class}: {error.reason}")
            return
        if source.unit == "file" and whole:
            # A mapping that sums a file up may not see half of it: it gets all or nothing.
            table = pa.concat_tables(whole, promote_options="permissive")
            yield RawPart(file, 1, RawBatch(table, [], absent_is_null=batch.absent_is_null))

    def _progress(self, records: int) -> None:
        callback = PROGRESS.get(self.plan.run)
        if callback is not None:
            callback(records)


class _Occurrences:
    """Counts identical records of a file, for sources that keep them."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.counts = pl.DataFrame(schema={"digest": pl.String, "before": pl.Int64})

    def of(self, table: pa.Table) -> pl.DataFrame:
        """Give `_row`, `digest` and `occurrence` (1 for the first) of a batch's records."""
        found = record_digests(table, self.system)
        rows = found.join(self.counts, on="digest", how="left").with_columns(
            (pl.col("before").fill_null(0) + pl.int_range(1, pl.len() + 1).over("digest")).alias("occurrence")
        )
        latest = rows.group_by("digest").agg(pl.col("occurrence").max().alias("before"))
        self.counts = pl.concat([latest, self.counts]).unique("digest", keep="first", maintain_order=True)
        return rows.select(ROW, "digest", "occurrence")


class MapRecords(beam.DoFn):  # type: ignore[misc]
    """Runs the source's mapping over raw records and makes facts of what it yields."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.engines: dict[str, MappingEngine] = {}

    def process(self, raw: RawPart[RawOrigin]) -> Iterator[Any]:
        """Yield FactsPart; rejects and counts aside."""
        file, source = raw.file, self.plan.source(raw.file.source)
        if file.source not in self.engines:
            self.engines[file.source] = self.plan.engine(file.source)
        engine = self.engines[file.source]
        received = raw.batch.table.num_rows
        try:
            mapped = engine.map_batch(raw.batch.table, raw.batch.absent_is_null)
        except MappingError as error:
            if isinstance(file, StreamPart):
                # A stream is read once: what the mapping can't take is kept, record by record, for a replay.
                yield rejected(file, raw.part, "map", _unmapped(raw.batch.table, str(error), engine))
                yield counted(file, {"rejected": received})
                return
            yield rejected(file, 0, "map", [Reject("mapping", str(error), b"")])
            yield counted(file, {"rejected": received}, f"mapping: {error}")
            return
        origin = Origin(
            source.source_system,
            file.raw_id,
            file.received_at,
            file.mapping_version,
            source.fact,
            source.unit,
            raw.arrivals,
        )
        made = make_facts(
            mapped.rows,
            origin,
            self.plan.identifiers(file.source),
            lambda rows: digests_of(raw, engine, rows),
        )
        failed = mapped.faults.height
        if source.unit == "file":
            yielded = received - failed if made.facts.height else 0
        else:
            yielded = made.facts[ROW].n_unique()
        yield counted(file, {"mapped": yielded, "filtered": received - failed - yielded, "rejected": failed})
        if failed:
            yield rejected(file, raw.part, "map", fault_rejects(raw.batch.table, mapped.faults, engine))
        yield FactsPart(file, raw.part, made.facts)


def _unmapped(table: pa.Table, reason: str, engine: MappingEngine) -> list[Reject]:
    """Make rejects of all records that a mapping does not fit."""
    return [
        Reject("mapping", reason, record.encode(), row)
        for row, record in engine.canonical(table).select(ROW, "record").iter_rows()
    ]


def digests_of(raw: RawPart[Any], engine: MappingEngine, rows: pl.Series) -> pl.DataFrame:
    """Give the digest and occurrence of raw records; of a file mapping, those of the file."""
    if engine.unit == "file":
        digest = pl.DataFrame({"digest": [raw.file.sha256], "occurrence": [1]})
        return rows.to_frame().join(digest, how="cross")
    if raw.occurrences is not None:
        return raw.occurrences
    return engine.digests(raw.batch.table).with_columns(pl.lit(1, pl.Int64).alias("occurrence"))


def fault_rejects(table: pa.Table, faults: pl.DataFrame, engine: MappingEngine) -> list[Reject]:
    """Make rejects of the records that a mapping fails on; the payload is the record as canonical JSON."""
    among = pl.Series(table.column(ROW).to_numpy()).is_in(faults[ROW].implode())
    records = engine.canonical(table.filter(pa.array(among.to_numpy())))
    rows = faults.join(records, on=ROW, how="left")
    return [
        Reject("bad_value", reason, (record or "").encode(), row)
        for row, reason, record in rows.select(ROW, "reason", "record").iter_rows()
    ]


def record_digests(table: pa.Table, system: str) -> pl.DataFrame:
    """Give `_row` and `digest` of raw records, see `connectors.ids.record_digest_sql`."""
    names = [(column.name, str(column.type)) for column in table.schema if column.name != ROW]
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("raw", table)
        sql = f"SELECT {ROW}, {record_digest_sql(system, names)} AS digest FROM raw"  # noqa: S608
        found = pl.from_arrow(connection.sql(sql).to_arrow_table())
    return found if isinstance(found, pl.DataFrame) else found.to_frame()


class CheckFacts(beam.DoFn):  # type: ignore[misc]
    """Holds facts against their contract."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def process(self, part: FactsPart[RawOrigin]) -> Iterator[Any]:
        """Yield FactsPart of good facts; rejects and counts aside."""
        fact = self.plan.source(part.file.source).fact
        checked = check_facts(part.facts, fact, self.plan.vocabulary)
        yield counted(
            part.file,
            {f"yielded.{fact}": part.facts.height, f"fact_rejects.{fact}": checked.rejects.height},
        )
        if checked.rejects.height:
            yield rejected(part.file, part.part, "check", fact_rejects(checked.rejects, fact))
        yield replace(part, facts=checked.good)


def fact_rejects(rejects: pl.DataFrame, fact: str) -> list[Reject]:
    """Make rejects of facts that break their contract; the payload is the fact as JSON."""
    as_json = rejects.select(pl.struct(list(frame_schema(fact))).struct.json_encode().alias("fact"))["fact"]
    return [
        Reject(error_class, reason, payload.encode(), row)
        for error_class, reason, payload, row in zip(
            rejects["error_class"], rejects["reason_of_rejection"], as_json, rejects[ROW], strict=True
        )
    ]


class WriteFacts(beam.DoFn):  # type: ignore[misc]
    """Writes good facts to the bus."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def process(self, part: FactsPart[SourceFile]) -> Iterator[tuple[str, Outcome[SourceFile]]]:
        """Yield the outcome: the names of the bus files."""
        file, fact = part.file, self.plan.source(part.file.source).fact
        stem = file_stem(file.source, file.sha256, file.mapping_version, part.part)
        names = [
            self.plan.bus.write(fact, f"{stem}-{piece:02d}", facts)
            for piece, facts in enumerate(part.facts.iter_slices(FACTS_PER_FILE))
            if facts.height
        ]
        yield file.key, Outcome(file, Counter({f"written.{fact}": part.facts.height}), {fact: names})


class WriteDeadLetters(beam.DoFn):  # type: ignore[misc]
    """Writes dead letters to the bus; the only step that does."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def process(self, part: RejectedPart[SourceFile]) -> Iterator[tuple[str, Outcome[SourceFile]]]:
        """Yield the outcome: the name of the bus file."""
        file, bus = part.file, self.plan.bus
        place = Place(file.source, part.step, shown_path(file.path, self.plan), file.received_at)
        letters = dead_letters(part.rejects, place, bus.raw_zone)
        stem = file_stem(file.source, file.sha256, file.mapping_version, part.part)
        name = bus.write(DEAD_LETTERS, f"{stem}-{part.step}", letters)
        yield file.key, Outcome(file, Counter({"dead_letters": letters.height}), {DEAD_LETTERS: [name]})


class RegisterFile(beam.DoFn):  # type: ignore[misc]
    """Registers a file once all that became of it is on the bus."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def process(self, outcomes: tuple[str, Iterable[Outcome[SourceFile]]]) -> Iterator[Ingested]:
        """Yield the entry that stands in the registry."""
        parts = list(outcomes[1])
        file = parts[0].file
        counts: Counts = Counter()
        files: dict[str, set[str]] = {}
        errors = set()
        for part in parts:
            counts.update(part.counts)
            for fact, names in part.files.items():
                files.setdefault(fact, set()).update(names)
            if part.error is not None:
                errors.add(part.error)
        entry = Ingested(
            source=file.source,
            sha256=file.sha256,
            mapping_version=file.mapping_version,
            path=shown_path(file.path, self.plan),
            status="partial" if errors else "complete",
            error="; ".join(sorted(errors)) or None,
            files={fact: sorted(names) for fact, names in sorted(files.items())},
            counts=dict(sorted(counts.items())),
            run=self.plan.run,
        )
        append_entries(self.plan.bus.folder, [entry])
        yield entry
