"""The stitch of a stream: deliveries of facts from Kafka, and new files of the bus, are stitched as they come."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import apache_beam as beam
import duckdb
import polars as pl

from connectors.bus import DEAD_LETTERS, Bus, read_bus_file
from connectors.dead_letters import STREAMED, Place, Reject, dead_letters
from connectors.kafka.registry import open_registry
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import fact_topic
from connectors.kafka.wire import decode_messages
from connectors.registry import REGISTRY_FILE
from milepost import metrics
from milepost.clock import now
from milepost.rules import Rules
from milepost.stream_settings import StreamSettings
from milepost.units import find_nodes
from pipelines.announce import Announcer
from pipelines.kafka_source import STOPPING, Delivery, ReadKafka, Share
from pipelines.letters import micros, stitch_letters
from pipelines.mapping_versions import remember_versions
from pipelines.parking import group_facts, parked_letters
from pipelines.progress import listening
from pipelines.staging import Staging
from pipelines.stitch import FactFile, facts_on, publish_increment
from pipelines.stitch_publish import AuditWithheldError, Change, StitchReport
from pipelines.stitch_rebuild import StitchSettings, staged_schema
from pipelines.unit_cache import with_cache
from schemas.contracts import FACT_TYPES, frame_schema
from schemas.vocabulary import Vocabulary
from warehouse.places import Places, Warehouse, open_places
from warehouse.snapshot import SnapshotError, publish_snapshot

_logger = logging.getLogger(__name__)

#: Facts of a file of the bus: their type, the facts, and the file's name where they are its last.
Piece = tuple[str, pl.DataFrame, tuple[str, ...]]

#: Snapshots should take this share of the time; where they are wanted more often, never more than the larger one.
SNAPSHOT_SHARE, MOST_SNAPSHOT_SHARE = 0.05, 0.2

#: After so many publications of parts of a batch that an audit withholds, failing parts are parked as they are.
MOST_FAILURES = 64


@dataclass(frozen=True)
class StitchStreamSettings:
    """What a stream's stitch needs to know; it travels to the worker."""

    home: Path
    kafka: KafkaSettings
    stream: StreamSettings
    vocabulary: Vocabulary
    rules: Rules
    rules_hash: str
    versions: Mapping[str, str]
    systems: frozenset[str]
    store_url: str | None = field(default=None, repr=False)


def stitch_stream(pipeline: beam.Pipeline, share: Share, settings: StitchStreamSettings) -> None:
    """Build the pipeline: one reader and one writer, for the store has one."""
    stream = settings.stream
    (
        pipeline
        | "Share" >> beam.Create([share], reshuffle=False)
        | "Read"
        >> beam.ParDo(
            ReadKafka(settings.kafka, stream.pace_seconds, stream.batch_facts, idle=True, shown=True)
        )
        | "Stitch" >> beam.ParDo(StitchDeliveries(settings))
    )


class StitchDeliveries(beam.DoFn):  # type: ignore[misc]
    """Delivery → nothing; its facts are published, or the bundle fails."""

    def __init__(self, settings: StitchStreamSettings) -> None:
        self.settings = settings

    def process(self, delivery: Delivery) -> None:
        """Stitch and publish."""
        stitcher_of(self.settings).work(delivery)


#: The stitchers of this process by home: opening one again would cost reading what it holds in memory.
_STITCHERS: dict[Path, Stitcher] = {}


def stitcher_of(settings: StitchStreamSettings) -> Stitcher:
    """Give the stitcher of a home, opened at the first call."""
    if settings.home not in _STITCHERS:
        with ExitStack() as opened:
            places = open_places(settings.home, settings.store_url, purpose="stream stitch")
            opened.callback(places.close)
            _STITCHERS[settings.home] = Stitcher(settings, places)
            opened.pop_all()
    return _STITCHERS[settings.home]


def close_stitchers() -> None:
    """Close every stitcher of this process, with a last snapshot."""
    with ExitStack() as closing:
        while _STITCHERS:
            closing.callback(_STITCHERS.popitem()[1].close)


def drop_stitchers() -> None:
    """Let go of every stitcher of this process after a failure: who knows what it holds."""
    while _STITCHERS:
        _, stitcher = _STITCHERS.popitem()
        with suppress(Exception):
            stitcher.let_go()


class MappingChangedError(Exception):
    """The stitch must begin anew with the mappings as they are now; nothing of what it refused is lost."""


class CachedPlaces:
    """Places with a cache in front of the store, for a process that keeps them."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.store = with_cache(places.store)
        self.warehouse = places.warehouse

    def close(self) -> None:
        """Let go of both."""
        self._places.close()

    def checkpoint(self) -> None:
        """Bring the warehouse's file up to date."""
        self._places.checkpoint()

    def lent(self) -> AbstractContextManager[None]:
        """Lend nothing: the cache's store stays open."""
        return nullcontext()


class _WarmError(Exception):
    """Ends the warming up before anything is published."""


class _StoppedError(Exception):
    """Ends a search for what an audit will not have; what is not published yet is taken up at the next start."""


class Stitcher:
    """Holds store and warehouse open, and publishes batch by batch."""

    def __init__(self, settings: StitchStreamSettings, places: Places) -> None:
        self.settings, self.places = settings, CachedPlaces(places)
        self.bus = Bus(settings.home)
        self.registry = open_registry(settings.kafka.schema_registry)
        self.announcer = Announcer(settings.kafka)
        self._snapshot_due = False
        self._next_snapshot = 0.0
        self._known_registry: tuple[int, int] | None = None
        self._files: list[FactFile] = []
        self._pieces: deque[Piece] = deque()
        self._older = remember_versions(places.store, settings.versions)
        self._warm_up()

    def _warm_up(self) -> None:
        """Do what the first batch would wait for: imports, compiled code, the cache. Nothing is published."""

        def stop(step: str) -> None:
            if step == "store":
                raise _WarmError

        empty = self._staged({})
        with suppress(_WarmError):
            publish_increment(
                self.places,
                self._stitching(),
                empty,
                [find_nodes(frame, name, self.settings.vocabulary) for name, frame in empty.items()],
                Change(now(), self.settings.rules_hash),
                step=stop,
            )

    def _stitching(self) -> StitchSettings:
        """Give the settings of a batch, with a staging folder of its own."""
        settings = self.settings
        run = f"batch-{uuid.uuid4().hex}"
        return StitchSettings(
            Staging(str(settings.home / "staging" / run)),
            settings.vocabulary,
            settings.rules,
            run,
            self._older,
        )

    def close(self) -> None:
        """Make a last snapshot where one is due, and let go."""
        with ExitStack() as closing:
            closing.callback(self.let_go)
            if self._snapshot_due:
                self._make_snapshot()

    def let_go(self) -> None:
        """Close the connection to Kafka and the places, each whatever the other does."""
        with ExitStack() as closing:
            closing.callback(self.places.close)
            closing.callback(self.announcer.close)

    def work(self, delivery: Delivery) -> None:
        """Stitch what a delivery brings, then what new files of the bus bring; keep the snapshot near."""
        try:
            if delivery.batches:
                self._take(delivery)
            self._take_files()
        except _StoppedError:
            return
        with _Steps("announce"):
            self.announcer.announce(self.places)
        if self._snapshot_due and time.monotonic() >= self._next_snapshot:
            self._make_snapshot()

    # What comes in

    def _take(self, delivery: Delivery) -> None:
        with _Steps("decode"):
            facts, letters = self._decode(delivery)
        if letters.height:
            self._keep(letters)
            self._published()
        self._refuse_unknown_versions(facts)
        offsets = {(at.topic, at.partition): offset for at, offset in delivery.positions}
        self._publish(facts, Change(now(), self.settings.rules_hash, offsets=offsets, announce=True))

    def _decode(self, delivery: Delivery) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
        """Give facts by type, with the columns of staged ones, and dead letters: those sent, and of what is no fact."""
        topics = {fact_topic(self.settings.kafka, name): name for name in (*FACT_TYPES, DEAD_LETTERS)}
        facts: dict[str, list[pl.DataFrame]] = {}
        letters = [pl.DataFrame(schema=frame_schema(DEAD_LETTERS))]
        for batch in delivery.batches:
            name = topics[batch.partition.topic]
            decoded = decode_messages(name, batch.values, self.registry)
            if decoded.rejects:
                values = batch.values.to_list()
                place = Place(
                    batch.partition.topic,
                    "decode",
                    f"{STREAMED}{batch.partition}",
                    int(batch.timestamps[-1]) * 1000,
                )
                rejects = [
                    Reject(
                        one.error_class,
                        one.reason,
                        values[one.position] or b"",
                        int(batch.offsets[one.position]),
                    )
                    for one in decoded.rejects
                ]
                letters.append(dead_letters(rejects, place, self.bus.raw_zone))
            if name == DEAD_LETTERS:
                letters.append(decoded.frame)
            else:
                facts.setdefault(name, []).append(decoded.frame)
        return self._staged(facts), pl.concat(letters)

    def _refuse_unknown_versions(self, facts: Mapping[str, pl.DataFrame]) -> None:
        """Refuse facts of a mapping that this process does not know: they would be judged by an old one's rules."""
        known = self._older | set(self.settings.versions.values())
        for frame in facts.values():
            mine = frame.filter(pl.col("source").is_in(sorted(self.settings.systems)))
            if not set(mine.get_column("mapping_version").drop_nulls().unique()) <= known:
                raise MappingChangedError("a mapping has changed since this stitch began")

    def _staged(self, facts: Mapping[str, list[pl.DataFrame]]) -> dict[str, pl.DataFrame]:
        """Give facts the columns and types of staged ones, every type there is."""
        staged = {}
        for name in FACT_TYPES:
            schema = staged_schema(name, self.settings.vocabulary)
            frames = facts.get(name)
            staged[name] = (
                pl.concat(frames, rechunk=True)
                .with_columns(pl.lit(0, pl.UInt64).alias("unit"), pl.lit(0, pl.UInt64).alias("key"))
                .select(list(schema))
                .cast(schema)
                if frames
                else pl.DataFrame(schema=schema)
            )
        return staged

    def _new_files(self) -> list[FactFile]:
        """List the files of the bus that are not stitched yet; nothing is read where the bus has not changed."""
        registry = _stamp(self.bus.folder / REGISTRY_FILE)
        if registry == self._known_registry:
            return []
        known = self.places.store.stitched_files()
        files = facts_on(self.bus)
        if known - {file.name for file in files}:
            raise MappingChangedError("files were mapped anew")
        self._known_registry = registry
        return [file for file in files if file.name not in known]

    def _take_files(self) -> None:
        """Stitch new files of the bus piece by piece for as long as the pace is; what is left waits its turn."""
        until = time.monotonic() + self.settings.stream.pace_seconds
        while time.monotonic() < until:
            if not self._pieces:
                self._pieces.extend(self._new_pieces())
            metrics.FILES_WAITING.set(len(self._files) + bool(self._pieces))
            if not self._pieces:
                return
            fact_type, facts, files = self._pieces.popleft()
            change = Change(now(), self.settings.rules_hash, files=files, announce=True)
            self._publish(self._staged({fact_type: [facts]}), change)

    def _new_pieces(self) -> Iterator[Piece]:
        """Cut the next new file into pieces of a batch's size; it counts as stitched with the last one."""
        self._files = self._files or self._new_files()
        if not self._files:
            return
        file = self._files.pop(0)
        facts = read_bus_file(Path(file.path)).with_columns(pl.lit(None, pl.String).alias("mapping_version"))
        pieces = list(facts.iter_slices(self.settings.stream.batch_facts)) or [facts]
        for number, piece in enumerate(pieces, start=1):
            yield file.fact_type, piece, (file.name,) if number == len(pieces) else ()

    # What goes out

    def _publish(self, facts: dict[str, pl.DataFrame], change: Change) -> None:
        """Publish a batch; where an audit withholds it, the smallest failing parts of it are parked."""
        error = self._try(facts, change)
        if error is None:
            return
        groups = group_facts(facts, self.settings.vocabulary)
        within = replace(change, files=(), offsets={})
        failing = deque([(0, groups.count, error)])
        failures = 1
        # In order of size, so that where there are too many of them, no large part is parked for a small one in it.
        while failing:
            low, high, error = failing.popleft()
            if high - low < 2 or failures >= MOST_FAILURES:
                self._park(groups.part(low, high), change, error)
                continue
            middle = (low + high) // 2
            for part in ((low, middle), (middle, high)):
                if STOPPING.is_set():
                    raise _StoppedError
                withheld = self._try(groups.part(*part), within)
                if withheld is not None:
                    failures += 1
                    failing.append((*part, withheld))
        # What says how far topics and files are read comes last: until then, all of it would be taken up again.
        self._publish_whole({name: frame.clear() for name, frame in facts.items()}, change)

    def _try(self, facts: dict[str, pl.DataFrame], change: Change) -> AuditWithheldError | None:
        """Publish facts, or give the error where an audit withholds them."""
        try:
            self._publish_whole(facts, change)
        except AuditWithheldError as error:
            metrics.PUBLICATIONS.labels("withheld").inc()
            return error
        return None

    def _publish_whole(self, facts: dict[str, pl.DataFrame], change: Change) -> None:
        settings = self.settings
        nodes = []
        for name, frame in facts.items():
            found = find_nodes(frame, name, settings.vocabulary)
            facts[name] = frame.with_columns(pl.Series("key", found.keys))
            nodes.append(found)
        stitching = self._stitching()
        with _Steps("fold") as steps, listening(stitching.run_id, _tell_progress):
            report = publish_increment(
                self.places, stitching, facts, nodes, change, step=steps.next, record=self._record
            )
        self._tell(report, facts, live=bool(change.offsets))

    def _record(self, _: Warehouse, report: StitchReport) -> None:
        letters = stitch_letters(self.bus, report)
        if letters.height:
            self._keep(letters)

    def _keep(self, letters: pl.DataFrame) -> None:
        """Keep dead letters; those that ingest sent were counted there."""
        self.places.warehouse.record_dead_letters(letters)
        own = letters.filter(pl.col("step").is_in(["decode", "stitch", "audit"]))
        for source, step, count in own.group_by("source", "step").len().iter_rows():
            metrics.DEAD_LETTERS.labels(source, step).inc(count)

    def _park(self, facts: Mapping[str, pl.DataFrame], change: Change, error: AuditWithheldError) -> None:
        """Set facts aside that an audit will not have: as dead letters, whose payloads the raw zone keeps."""
        letters = parked_letters(facts, error, micros(change.published_at), self.bus.raw_zone)
        self._keep(letters)
        metrics.PARKED.inc(letters.height)

    def _tell(self, report: StitchReport, facts: Mapping[str, pl.DataFrame], *, live: bool) -> None:
        """Count what was published; what comes from files says nothing about freshness."""
        for source, fate, count in report.fates.iter_rows():
            metrics.FACTS.labels(source, fate).inc(count)
        metrics.PUBLICATIONS.labels("published").inc()
        published = now()
        metrics.PUBLISHED_AT.set(published.timestamp())
        for frame in facts.values() if live else ():
            waited = (published - frame.get_column("received_at")).dt.total_microseconds() / 1e6
            for seconds in waited:
                metrics.FRESHNESS.observe(seconds)
        self._published()

    def _published(self) -> None:
        self._snapshot_due = self.settings.store_url is None

    def _make_snapshot(self) -> None:
        """Copy what is published to where readers find it; where that fails, readers keep the one before."""
        began, pause = time.monotonic(), self.settings.stream.snapshot_seconds
        try:
            with _Steps("snapshot"):
                self.places.checkpoint()
                publish_snapshot(self.settings.home)
            self._snapshot_due = False
            pause = snapshot_pause(time.monotonic() - began, pause)
        except (SnapshotError, OSError, duckdb.IOException) as error:
            _logger.warning("%s; trying again in %.0f s, or at the next start", error, pause)
        self._next_snapshot = time.monotonic() + pause


def snapshot_pause(took: float, wanted: float) -> float:
    """Say how long to wait after a snapshot that took so long, in seconds.

    As long as makes it a twentieth of the time; where that would be longer than is wanted, only that long, but never so
    short that snapshots take more than a fifth of the time.
    """
    return max(took * (1 / MOST_SNAPSHOT_SHARE - 1), min(took / SNAPSHOT_SHARE, wanted))


def _tell_progress(stage: str, done: int) -> None:
    if stage == "largest unit":
        metrics.UNIT_FACTS.observe(done)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


class _Steps:
    """Measures work step by step, such as a publication's; each is told before it is taken."""

    def __init__(self, first: str) -> None:
        self.name = first

    def __enter__(self) -> Self:
        self.wall, self.cpu = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.next("end")

    def next(self, name: str) -> None:
        """End the step before, and begin one."""
        wall, cpu = time.monotonic(), time.process_time()
        metrics.SECONDS.labels(self.name, "wall").inc(wall - self.wall)
        metrics.SECONDS.labels(self.name, "cpu").inc(cpu - self.cpu)
        self.name, self.wall, self.cpu = name, wall, cpu
