"""The stream gives the tables that files give: any order, repeats, several goes, DuckDB and PostgreSQL alike."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from connectors.kafka.consumer import Consumer
from connectors.kafka.producer import Producer
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics, fact_topic
from connectors.kafka.wire import decode_messages
from schemas.tables import load_tables
from tests.brokers import running_broker, settings_for
from tests.faults.runs import Place, digests, letters, milepost, run_whole, shared, start
from tests.faults.stream import machine_of
from tests.pipelines.streaming import market_messages, send, streamed_market
from tests.postgresql import Cluster, needs_postgresql
from warehouse.definitions import WORKING_COPY, open_warehouse, read_frame
from warehouse.places import places_of
from warehouse.snapshot import SNAPSHOT

#: When all records came in, in either way (microseconds): 2026-01-01.
RECEIVED = 1_767_225_600_000_000


@dataclass(frozen=True)
class Market:
    """A simulated market, and the tables that a run over its files gives."""

    place: Place
    tables: dict[str, str]

    @property
    def key(self) -> bytes:
        """The key with which the run over files hashed."""
        return (self.place.home / "hashing.key").read_bytes()


def make_market(folder: Path) -> Market:
    place = Place(folder / "project", folder / "home")
    place.home.mkdir()
    here = Place(folder, place.home)
    made = milepost(here, "simulate", "--customers", "40", "--seed", "7", "--out", str(place.project))
    assert made.returncode == 0, made.stderr
    run_whole(place)
    return Market(place, digests(place))


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return shared(tmp_path_factory, "streamed-market", make_market)


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaSettings]:
    with running_broker() as running:
        yield settings_for(running)


@pytest.fixture
def kafka(broker: KafkaSettings, request: pytest.FixtureRequest) -> KafkaSettings:
    """Topics of one test alone."""
    return broker.model_copy(update={"topic_prefix": f"{broker.topic_prefix}.{abs(hash(request.node.name))}"})


def stream_place(market: Market, folder: Path, kafka: KafkaSettings, *, topics: bool = True) -> Place:
    """Make the market's project with streams and their topics, and a home with the same key."""
    place = Place(folder / "project", folder / "home")
    place.project.mkdir()
    place.home.mkdir(mode=0o700)
    (place.home / "hashing.key").write_bytes(market.key)
    (place.home / "hashing.key").chmod(0o600)
    project = streamed_market(market.place.project, place.project, place.home, kafka)
    if topics:
        ensure_topics(kafka, sorted(project.sources), project.raw_days)
    return place


def work_off(place: Place, *arguments: str) -> None:
    """Map what is on the topics, and stitch it."""
    for part in ("ingest", "stitch"):
        done = milepost(place, "stream", part, "--once", *(arguments if part == "stitch" else ()))
        assert done.returncode == 0, done.stderr


def stream_all(market: Market, place: Place, kafka: KafkaSettings, *arguments: str) -> None:
    """Send the market's records in random order with repeats, in two goes; what stays files is run in between."""
    messages = market_messages(market.place.project, repeat=0.05, seed=3)
    half = len(messages) // 2
    send(kafka, messages[:half], RECEIVED)
    work_off(place, *arguments)
    done = milepost(place, "run", *arguments)
    assert done.returncode == 0, done.stderr
    send(kafka, messages[half:], RECEIVED)
    work_off(place, *arguments)


def announced(kafka: KafkaSettings) -> pl.DataFrame:
    """Give the journeys that others know of: the last record of each customer, those without value left out."""
    last: dict[bytes | None, bytes | None] = {}
    with Consumer(kafka) as consumer:
        partitions = consumer.partitions(fact_topic(kafka, "journeys"))
        ends = consumer.end_offsets(partitions)
        consumer.assign(consumer.beginning_offsets(partitions))
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for batch in consumer.poll(10_000, 1.0):
                last.update(zip(batch.keys.to_list(), batch.values.to_list(), strict=True))
    decoded = decode_messages("journey", [value for value in last.values() if value is not None])
    assert decoded.rejects == ()
    assert None in last.values()  # somebody was merged or erased
    return decoded.frame.sort("customer_id")


def published(place: Place) -> pl.DataFrame:
    """Give table `journeys`."""
    with open_warehouse(place.home / WORKING_COPY, read_only=True) as warehouse:
        return read_frame(warehouse, load_tables()["journeys"]).sort("customer_id")


def test_a_stream_gives_the_tables_that_files_give(
    market: Market, kafka: KafkaSettings, tmp_path: Path
) -> None:
    place = stream_place(market, tmp_path, kafka)
    stream_all(market, place, kafka)
    assert digests(place) == market.tables
    assert letters(place) == []
    assert_frame_equal(announced(kafka), published(place))
    done = milepost(place, "run", "--rebuild")
    assert done.returncode == 0, done.stderr
    assert digests(place) == market.tables


@pytest.mark.parametrize("mode", [pytest.param("postgresql", marks=needs_postgresql)])
def test_a_stream_into_postgresql_gives_them_too(
    mode: str, market: Market, kafka: KafkaSettings, tmp_path: Path, postgresql: Cluster
) -> None:
    database = postgresql.create_database()
    place = stream_place(market, tmp_path, kafka)
    stream_all(market, place, kafka, "--store", database)
    with places_of(place.home, database) as places:
        assert places.warehouse.digests() == market.tables
    done = milepost(place, "run", "--rebuild", "--store", database)
    assert done.returncode == 0, done.stderr
    with places_of(place.home, database) as places:
        assert places.warehouse.digests() == market.tables


def test_what_is_no_record_and_no_fact_becomes_a_dead_letter_and_harms_no_other(
    market: Market, kafka: KafkaSettings, tmp_path: Path
) -> None:
    place = stream_place(market, tmp_path, kafka)
    good = (
        b'{"activity_id": "a1", "type": "Call", "activity_date": "2024-02-03 10:00:00", "contact_id": "c1"}'
    )
    poison = [
        b"",
        b"not JSON",
        b"[1, 2]",
        b'{"type": "\xff"}',
        b'{"type": "a\x00b"}',
        b"\x00" * 100,
        b'{"type": "Call", "activity_date": "yesterday", "contact_id": "c2", "activity_id": "a2"}',
        b'{"type": "Dance", "activity_date": "2024-02-03", "contact_id": "c3", "activity_id": "a3"}',
        b'{"type": "Call", "activity_date": "2024-02-03", "activity_id": "a4"}',
        b'{"' + b'":1,"'.join(b"k%d" % number for number in range(2_500)) + b'":1}',
        b'{"type": "Call", "subject": "' + b"x" * 2_000_000 + b'"}',
    ]
    send(kafka, [("crm_activities", record) for record in [*poison, good]], RECEIVED)
    bad_facts = [b"", b"\x00", b"no Avro at all", b"\x00\x00\x00\x00\x07 of an unknown schema"]
    with Producer(kafka) as producer:
        producer.send_many(fact_topic(kafka, "touchpoint"), None, bad_facts)
        producer.flush()
    work_off(place)
    found = letters(place)
    assert len(found) == len(poison) + len(bad_facts)
    assert all(letter["reason"] for letter in found)
    seen = milepost(place, "journey", "crm_contact:c1", "--json")
    assert seen.returncode == 0, seen.stderr


def test_a_topic_that_is_missing_is_named(market: Market, kafka: KafkaSettings, tmp_path: Path) -> None:
    place = stream_place(market, tmp_path, kafka, topics=False)
    for part in ("ingest", "stitch"):
        done = milepost(place, "stream", part, "--once")
        assert done.returncode == 1
        assert f"{kafka.topic_prefix}." in done.stderr
        assert "milepost topics ensure" in done.stderr


def test_a_second_stitch_is_refused(market: Market, kafka: KafkaSettings, tmp_path: Path) -> None:
    place = stream_place(market, tmp_path, kafka)
    send(kafka, [("crm_activities", b"{}")], RECEIVED)
    first = start(place, "stream", "stitch")
    try:
        while not (place.home / "run" / "stitch.address").exists():
            assert first.poll() is None
        second = milepost(place, "stream", "stitch", "--once")
        assert second.returncode == 4, second.stderr
        assert "stream stitch" in second.stderr
    finally:
        first.kill()
        first.communicate()


def test_a_replay_maps_raw_records_as_the_mapping_is_today(
    market: Market, kafka: KafkaSettings, tmp_path: Path
) -> None:
    """A mapping that gave wrong kinds and ids leaves nothing behind once it is corrected and replayed."""
    messages = [one for one in market_messages(market.place.project, repeat=0.1, seed=5) if one[0] == "mail"]
    tables = {}
    for name in ("right", "corrected"):
        (tmp_path / name).mkdir()
        mine = kafka.model_copy(update={"topic_prefix": f"{kafka.topic_prefix}.{name}"})
        place = stream_place(market, tmp_path / name, mine)
        mapping = place.project / "mappings" / "mail.sql"
        right = mapping.read_text()
        if name == "corrected":
            wrong = right.replace("'email_opened'", "'email_clicked'")
            wrong = wrong.replace(
                "message_event AS", "message_event || CASE event WHEN 'flyer' THEN '!' ELSE '' END AS"
            )
            assert wrong != right
            mapping.write_text(wrong)
        send(mine, messages, RECEIVED)
        work_off(place)
        if name == "corrected":
            assert digests(place) != tables["right"]
            mapping.write_text(right)
            done = milepost(place, "replay", "--source", "mail", "--json")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["facts_replaced"] > 0
        assert letters(place) == []
        tables[name] = digests(place)
    assert tables["corrected"] == tables["right"]


def test_a_stitch_begins_anew_when_a_mapping_has_changed(
    market: Market, kafka: KafkaSettings, tmp_path: Path
) -> None:
    """Facts of a mapping that the running stitch does not know are not lost, nor judged by the old one."""
    messages = [one for one in market_messages(market.place.project, repeat=0.1, seed=5) if one[0] == "mail"]
    place = stream_place(market, tmp_path, kafka)
    stitch = start(place, "stream", "stitch")
    try:
        machine = machine_of(place)
        wait_for(lambda: machine.answers("stitch"), stitch)
        mapping = place.project / "mappings" / "mail.sql"
        mapping.write_text(mapping.read_text().replace("'email_opened'", "'email_clicked'"))
        send(kafka, messages, RECEIVED)
        assert milepost(place, "stream", "ingest", "--once").returncode == 0
        wait_for(lambda: bool(snapshot_kinds(place)), stitch)
        assert "email_clicked" in snapshot_kinds(place)
        assert "email_opened" not in snapshot_kinds(place)
        stitch.terminate()
        stitch.communicate(timeout=60)
    finally:
        stitch.kill()
        stitch.communicate()
    assert letters(place) == []


def snapshot_kinds(place: Place) -> set[str]:
    """Give the kinds that the snapshot has; none where there is no snapshot."""
    if not (place.home / SNAPSHOT).exists():
        return set()
    with open_warehouse(place.home / SNAPSHOT, read_only=True) as warehouse:
        return {kind for (kind,) in warehouse.sql("SELECT DISTINCT kind FROM journey.touchpoints").fetchall()}


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 180.0) -> None:
    """Wait until something has happened while a process runs."""
    end = time.monotonic() + timeout
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.2)
