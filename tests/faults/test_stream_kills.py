"""Parts of the stream are killed under load: every acknowledged event is in the tables once, as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.runs import Place, digests, milepost
from tests.faults.stream import (
    Sender,
    down,
    machine_of,
    make_key,
    make_place,
    raw_records,
    up,
    wait_worked_off,
)
from tests.postgresql import Cluster, needs_postgresql
from warehouse.definitions import WORKING_COPY, open_warehouse
from warehouse.places import places_of

PARTS = ("collector", "ingest", "stitch", "Kafka")
KILLS = 10


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Place]:
    place = make_place(tmp_path)
    try:
        yield place
    finally:
        machine = machine_of(place)
        for part in ("collector", "ingest", "stitch"):
            machine.process(part).kill()
        assert machine.broker is not None
        machine.broker.process.kill()


def kill(place: Place, part: str) -> None:
    machine = machine_of(place)
    process = (
        machine.broker.process if part == "Kafka" and machine.broker is not None else machine.process(part)
    )
    process.kill()


def undisturbed(place: Place, records: list[bytes], tmp_path: Path) -> dict[str, str]:
    """Give the digests of a run over the same raw records from a file, with the same key."""
    calm = make_place(tmp_path, "calm")
    text = (calm.project / "milepost.yaml").read_text().replace("stream: segment", "files: events.jsonl")
    (calm.project / "milepost.yaml").write_text(text)
    (calm.project / "events.jsonl").write_bytes(b"\n".join(records))
    calm.home.mkdir(mode=0o700)
    (calm.home / "hashing.key").write_bytes((place.home / "hashing.key").read_bytes())
    (calm.home / "hashing.key").chmod(0o600)
    done = milepost(calm, "run")
    assert done.returncode == 0, done.stderr
    return digests(calm)


def send_through(place: Place, parts: list[str], chance: random.Random, *arguments: str) -> list[bytes]:
    """Send events while parts are killed one after the other; give the raw records once all is worked off."""
    up(place, *arguments)
    sender = Sender(place, make_key(place))
    sender.start()
    for part in parts:
        time.sleep(chance.uniform(0.3, 2.5))
        kill(place, part)
        time.sleep(chance.uniform(0.0, 1.0))
        up(place, *arguments)
    time.sleep(0.5)
    sender.stop()
    wait_worked_off(place)
    records = raw_records(place)
    sent = {json.loads(record)["messageId"] for record in records}
    assert len(sender.acknowledged) > 100
    assert set(sender.acknowledged) <= sent
    down(place)
    return records


def assert_whole(place: Place, records: list[bytes], tmp_path: Path) -> None:
    with open_warehouse(place.home / WORKING_COPY, read_only=True) as warehouse:
        touchpoints = warehouse.sql(
            "SELECT count(*), count(DISTINCT event_id) FROM journey.touchpoints"
        ).fetchall()
    events = len({json.loads(record)["messageId"] for record in records})
    assert touchpoints == [(events, events)]
    assert digests(place) == undisturbed(place, records, tmp_path)


def test_each_part_is_killed_once(stream: Place, tmp_path: Path) -> None:
    records = send_through(stream, list(PARTS), random.Random(1))
    assert_whole(stream, records, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_killed_again_and_again(part: str, stream: Place, tmp_path: Path) -> None:
    kills = min(KILLS, int(os.environ.get("MILEPOST_TEST_SEEDS", str(KILLS))))
    records = send_through(stream, [part] * kills, random.Random(part))
    assert_whole(stream, records, tmp_path)


@pytest.mark.faults
def test_kafka_is_away_for_a_minute(stream: Place, tmp_path: Path) -> None:
    """The collector goes on taking events, into its spool; the others wait."""
    up(stream)
    sender = Sender(stream, make_key(stream))
    sender.start()
    time.sleep(1)
    kill(stream, "Kafka")
    before = len(sender.acknowledged)
    time.sleep(60)
    assert len(sender.acknowledged) > before + 100
    up(stream)
    sender.stop()
    wait_worked_off(stream)
    records = raw_records(stream)
    assert set(sender.acknowledged) <= {json.loads(record)["messageId"] for record in records}
    down(stream)
    assert_whole(stream, records, tmp_path)


@pytest.mark.parametrize("mode", [pytest.param("killed", marks=needs_postgresql)])
def test_the_database_is_killed(mode: str, stream: Place, tmp_path: Path, postgresql: Cluster) -> None:
    url = postgresql.create_database()
    up(stream, "--store", url)
    sender = Sender(stream, make_key(stream))
    sender.start()
    for _ in range(3):
        time.sleep(2)
        postgresql.kill()
        time.sleep(1)
        postgresql.start()
    sender.stop()
    wait_worked_off(stream)
    records = raw_records(stream)
    assert set(sender.acknowledged) <= {json.loads(record)["messageId"] for record in records}
    down(stream)
    with places_of(stream.home, url) as places:
        assert places.warehouse.digests() == undisturbed(stream, records, tmp_path)
