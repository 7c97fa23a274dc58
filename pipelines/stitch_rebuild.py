"""The steps of a full stitch: decode, connect into units, partition into shards, fold each, share spend, fold ledgers.

Every step takes and gives references to staged files, and writes the same bytes when it is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import polars as pl

from connectors.bus import read_bus_file
from milepost.facts import working_schema
from milepost.handovers import hand_over
from milepost.money import booked_money, money
from milepost.opportunities import opportunities
from milepost.rules import Rules
from milepost.spend import share_spend, spend_table
from milepost.stitch import ledger_part, shaped
from milepost.unit_fold import UnitFold, fold_units
from milepost.units import Nodes, UnitFinder, find_nodes
from milepost.words import words_of
from pipelines.progress import report
from pipelines.staging import Staging, read_frame, read_frames, read_whole
from schemas.contracts import FACT_TYPES
from schemas.vocabulary import Vocabulary
from warehouse.audit import count_violations, planned_expectations, quarantine
from warehouse.store import MARKS, Store

#: How many facts a shard holds at most, units that are larger by themselves aside: what a worker folds at once.
SHARD_FACTS = 500_000
#: How many streamed facts are staged in a file.
STREAMED_FACTS = 100_000
#: What the names of staged facts end with.
STAGED = ".parquet"


@dataclass(frozen=True)
class StitchSettings:
    """What the steps of a run share; `older` are versions of mappings that are today's no more."""

    staging: Staging
    vocabulary: Vocabulary
    rules: Rules
    run_id: str
    older: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Spill:
    """A decoded batch of facts: its type, rows, what it names, and later its units."""

    fact_type: str
    name: str
    rows: int


def staged_schema(fact_type: str, vocabulary: Vocabulary) -> pl.Schema:
    """Give the columns of staged facts: those of the contract, words as Enums where that is cheaper, and marks."""
    words = words_of(vocabulary)
    enums = {"kind": words.kind, "channel": words.channel, "team": words.team, "reach": words.reach}
    columns = {name: enums.get(name, kind) for name, kind in working_schema(fact_type).items()}
    return pl.Schema({**columns, **MARKS})


def stage_streamed(settings: StitchSettings, store: Store) -> list[tuple[str, str, str]]:
    """Stage the facts of the store that came by stream, and so are in no file of the bus: as `Decode` takes them."""
    staged = []
    for fact_type in FACT_TYPES:
        streamed = store.streamed_facts(fact_type).drop("unit", "key")
        for number, part in enumerate(streamed.iter_slices(STREAMED_FACTS)):
            name = f"{fact_type}.stream.{number:05d}"
            staged.append((fact_type, name, settings.staging.write(part, "streamed", f"{name}{STAGED}")))
    return staged


def run_marks(settings: StitchSettings, *, new: bool) -> list[pl.Expr]:
    """Give the marks of facts in a run, see `milepost.facts.RUN_MARKS`."""
    marks = [pl.lit(new).alias("is_new")]
    if settings.older:
        # What came from files has no version: the bus forgets what an older mapping made of a file.
        older = pl.col("mapping_version").is_in(sorted(settings.older)).fill_null(value=False)
        marks.append(older.alias("is_older"))
    return marks


class Decode(beam.DoFn):  # type: ignore[misc]
    """(type of fact, name, bus file or staged facts) → a spilled batch."""

    def __init__(self, settings: StitchSettings) -> None:
        self.settings = settings

    def process(self, element: tuple[str, str, str]) -> Iterator[Spill]:
        fact_type, name, path = element
        staging = self.settings.staging
        vocabulary = self.settings.vocabulary
        schema = {
            name: kind for name, kind in staged_schema(fact_type, vocabulary).items() if name not in MARKS
        }
        if path.endswith(STAGED):
            facts = read_frame(path, pl.Schema({**schema, "mapping_version": pl.String()}))
        else:
            facts = read_bus_file(Path(path)).select(list(schema)).cast(pl.Schema(schema))
        nodes = find_nodes(facts, fact_type, vocabulary)
        staging.write(facts, "spill", f"{name}.parquet")
        staging.write_array(nodes.keys, "nodes", f"{name}.keys.npy")
        staging.write_array(nodes.rows, "nodes", f"{name}.rows.npy")
        staging.write_array(nodes.names, "nodes", f"{name}.names.npy")
        report(self.settings.run_id, "read", facts.height)
        yield Spill(fact_type, name, facts.height)


class Connect(beam.DoFn):  # type: ignore[misc]
    """All batches → groups of batches of a type, each with the number of shards; the units of facts are staged."""

    def __init__(self, settings: StitchSettings) -> None:
        self.settings = settings

    def process(self, element: Iterable[Spill]) -> Iterator[tuple[tuple[Spill, ...], int]]:
        spills = sorted(element, key=lambda spill: spill.name)
        staging = self.settings.staging
        finder = UnitFinder()
        for spill in spills:
            arrays = (
                np.load(staging.path("nodes", f"{spill.name}.{part}.npy"))
                for part in ("keys", "rows", "names")
            )
            finder.add(Nodes(*arrays))
        for spill in spills:
            keys = np.load(staging.path("nodes", f"{spill.name}.keys.npy"))
            staging.write_array(finder.labels(keys), "units", f"{spill.name}.npy")
        named = finder.named()
        staging.write_array(named, "named", "nodes.npy")
        staging.write_array(finder.labels(named), "named", "units.npy")
        shards = -(-sum(spill.rows for spill in spills) // SHARD_FACTS) or 1
        for group in _groups(spills):
            yield group, shards


def _groups(spills: list[Spill]) -> Iterator[tuple[Spill, ...]]:
    """Gather batches of a type, so that their parts by shard are few files and not many small ones."""
    group: list[Spill] = []
    for spill in sorted(spills, key=lambda spill: (spill.fact_type, spill.name)):
        full = sum(one.rows for one in group) + spill.rows > SHARD_FACTS
        if group and (full or group[0].fact_type != spill.fact_type):
            yield tuple(group)
            group = []
        group.append(spill)
    if group:
        yield tuple(group)


class Partition(beam.DoFn):  # type: ignore[misc]
    """A group of batches → its parts by shard: (shard, (type of fact, file))."""

    def __init__(self, settings: StitchSettings) -> None:
        self.settings = settings

    def process(self, element: tuple[tuple[Spill, ...], int]) -> Iterator[tuple[int, tuple[str, str]]]:
        spills, shards = element
        staging = self.settings.staging
        units = np.concatenate([np.load(staging.path("units", f"{spill.name}.npy")) for spill in spills])
        keys = np.concatenate([np.load(staging.path("nodes", f"{spill.name}.keys.npy")) for spill in spills])
        spilled = [read_whole(staging.path("spill", f"{spill.name}.parquet")) for spill in spills]
        facts = pl.concat(spilled, how="diagonal", rechunk=True).with_columns(
            pl.Series("unit", units), pl.Series("key", keys)
        )
        shard_of = (units % np.uint64(shards)).astype(np.uint32)
        by_shard = facts if shards == 1 else facts[np.argsort(shard_of, kind="stable")]
        ends = np.cumsum(np.bincount(shard_of, minlength=shards))
        for shard in np.unique(shard_of).tolist():
            start = int(ends[shard - 1]) if shard else 0
            part = by_shard.slice(start, int(ends[shard]) - start)
            file = f"{spills[0].fact_type}.{spills[0].name}.parquet"
            yield shard, (spills[0].fact_type, staging.write(part, "parts", f"{shard:06d}", file))


class FoldShard(beam.DoFn):  # type: ignore[misc]
    """(shard, its parts) → the shard, its tables staged but those that depend on what touches had cost."""

    def __init__(self, settings: StitchSettings) -> None:
        self.settings = settings

    def process(self, element: tuple[int, Iterable[tuple[str, str]]]) -> Iterator[int]:
        shard, parts = element
        vocabulary, rules = self.settings.vocabulary, self.settings.rules
        by_type: dict[str, list[str]] = {name: [] for name in FACT_TYPES}
        for fact_type, file in sorted(parts):
            by_type[fact_type].append(file)
        facts = {
            name: read_frames(by_type[name], staged_schema(name, vocabulary)).with_columns(
                run_marks(self.settings, new=True)
            )
            for name in FACT_TYPES
        }
        rows = sum(frame.height for frame in facts.values())
        stage_fold(self.settings, fold_units(facts, quarantine, vocabulary, rules), f"{shard:06d}")
        report(self.settings.run_id, "folded", rows)
        yield shard


def stage_fold(settings: StitchSettings, fold: UnitFold, name: str) -> None:
    """Stage a fold: tables and their violations, facts, what the ledgers and the tables across subjects need."""
    staging, vocabulary = settings.staging, settings.vocabulary
    for fact_type, frame in fold.standing.items():
        if frame.height:
            staging.write(frame.drop("is_new", "is_older", strict=False), "facts", fact_type, name)
    stage_tables(settings, {**fold.tables, "money": booked_money(fold.folded.conversions)}, name)
    timeline, conversions = ledger_part(fold.folded, vocabulary)
    if timeline.height:
        staging.write_whole(timeline, "ledger", "timeline", name)
        staging.write_whole(conversions, "ledger", "conversions", name)
    touches = fold.folded.timeline.filter(pl.col("campaign_id").is_not_null())
    staging.write(
        touches.select("event_id", "campaign_id", "occurred_at", pl.col("kind").cast(pl.String)),
        "campaign_touches",
        name,
    )
    staging.write(fold.spend, "spend", name)
    staging.write(fold.folded.path_counts, "path_counts", name)
    staging.write(fold.fates, "fates", name)
    staging.write(fold.rejected, "rejected", name)
    staging.write(fold.quarantined, "quarantined", name)


def stage_tables(settings: StitchSettings, tables: dict[str, pl.DataFrame], name: str) -> None:
    """Stage rows of tables, and what the audit counts in them."""
    shaped_tables = {table: shaped(table, frame) for table, frame in tables.items()}
    stage_violations(settings, shaped_tables, name)
    for table, frame in shaped_tables.items():
        if frame.height:
            settings.staging.write(frame, "tables", table, name)


def stage_violations(settings: StitchSettings, tables: dict[str, pl.DataFrame], name: str) -> None:
    """Stage what the audit plans to ask of rows, and what it counts: an expectation left uncounted fails it."""
    planned = pl.DataFrame(
        {"expectation": planned_expectations(tables, whole=False)}, schema={"expectation": pl.String}
    )
    settings.staging.write_whole(planned, "planned", name)
    violations = count_violations(tables, whole=False, vocabulary=settings.vocabulary)
    settings.staging.write_whole(violations, "violations", name)


CAMPAIGN_TOUCHES = pl.Schema(
    {
        "event_id": pl.String(),
        "campaign_id": pl.String(),
        "occurred_at": pl.Datetime("us", "UTC"),
        "kind": pl.String(),
    }
)


class ShareSpend(beam.DoFn):  # type: ignore[misc]
    """All shards → each shard; spend and its shares are staged."""

    def __init__(self, settings: StitchSettings) -> None:
        self.settings = settings

    def process(self, element: Iterable[int]) -> Iterator[int]:
        staging, rules = self.settings.staging, self.settings.rules
        spend = staging.read("spend", schema=working_schema("spend"))
        touches = staging.read("campaign_touches", schema=CAMPAIGN_TOUCHES)
        shares = share_spend(spend, touches, self.settings.vocabulary)
        staging.write_whole(shares, "shares")
        stage_tables(
            self.settings,
            {"spend_shares": shares, "spend": spend_table(spend, shares, rules).table},
            "spend",
        )
        yield from sorted(element)


class FoldLedger(beam.DoFn):  # type: ignore[misc]
    """A shard → itself; its handovers and opportunities, and the money that handovers cost, are staged."""

    def __init__(self, settings: StitchSettings) -> None:
        self.settings = settings

    def process(self, element: int) -> Iterator[int]:
        staging, vocabulary, rules = self.settings.staging, self.settings.vocabulary, self.settings.rules
        name = f"{element:06d}"
        path = staging.path("ledger", "timeline", name)
        if path.exists():
            timeline = read_whole(path)
            conversions = read_whole(staging.path("ledger", "conversions", name))
            shares = read_whole(staging.path("shares"))
            ledger = hand_over(timeline, shares, vocabulary, rules)
            tables = {
                "handovers": ledger.table,
                "opportunities": opportunities(timeline, ledger.table, conversions, vocabulary),
                "money": money(conversions.clear(), ledger.costs),
            }
            stage_tables(self.settings, tables, f"{name}.ledger")
        yield element
