"""PostgreSQL: whoever dies, the client or the server, a reader sees a whole publication, and the next run the rest."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from milepost.rules import Rules
from pipelines.stitch import run_stitch
from tests.pipelines.stitching import (
    assert_published,
    expected_tables,
    published_digests,
    put,
    put_batches,
    request,
    stitch_home,
)
from tests.places import Place
from tests.postgresql import Cluster, cluster, needs_postgresql
from tests.strategies import hostile_facts, to_frames
from warehouse.digest import frame_digests
from warehouse.places import open_places, places_of
from warehouse.postgres.places import PostgresPlaces, StoreBusyError
from warehouse.postgres.session import DatabaseError

pytestmark = needs_postgresql
FACTS = to_frames(hostile_facts(11, 150))
STEPS = ["warehouse", "audit", "store", "commit", "done"]


@pytest.fixture(scope="module")
def mortal() -> Iterator[Cluster]:
    """Give a server that these tests kill and start again."""
    with cluster() as started:
        yield started


@pytest.fixture
def begun(mortal: Cluster, tmp_path: Path) -> Place:
    """Give a place with a publication, and facts on the bus that are not in it."""
    place = Place(tmp_path, mortal.create_database())
    first, second = put_batches(FACTS, 2, seed=11)
    put(place, first, 0)
    stitch_home(place, Rules())
    put(place, second, 1)
    return place


def assert_repaired(place: Place, before: dict[str, str]) -> None:
    after = frame_digests(expected_tables(FACTS, Rules()))
    assert published_digests(place) in (before, after)
    stitch_home(place, Rules())
    assert_published(place, expected_tables(FACTS, Rules()))


def die_before(step: str, place: Place) -> None:
    words = [
        sys.executable,
        "-m",
        "tests.pipelines.stitch_dying",
        str(place.home),
        str(place.store_url),
        step,
    ]
    died = subprocess.run(words, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr


def kill_server(mortal: Cluster, place: Place, death: str) -> None:
    """Kill the server before a step of a publication."""

    def step(name: str) -> None:
        if name == death:
            mortal.kill()

    try:
        with pytest.raises(DatabaseError):
            run_stitch(request(place, Rules()), step=step)
    finally:
        mortal.start()


def test_a_client_killed_before_the_commit(begun: Place) -> None:
    before = published_digests(begun)
    die_before("commit", begun)
    assert_repaired(begun, before)


@pytest.mark.faults
@pytest.mark.parametrize("step", [step for step in STEPS if step != "commit"])
def test_a_client_killed_before_any_step(step: str, begun: Place) -> None:
    before = published_digests(begun)
    die_before(step, begun)
    assert_repaired(begun, before)


def test_the_server_killed_before_the_commit(mortal: Cluster, begun: Place) -> None:
    before = published_digests(begun)
    kill_server(mortal, begun, "commit")
    assert published_digests(begun) == before
    assert_repaired(begun, before)


@pytest.mark.faults
@pytest.mark.parametrize("step", ["warehouse", "audit", "store"])
def test_the_server_killed_before_any_step(step: str, mortal: Cluster, begun: Place) -> None:
    before = published_digests(begun)
    kill_server(mortal, begun, step)
    assert_repaired(begun, before)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(10))
def test_the_server_killed_at_a_random_moment(seed: int, mortal: Cluster, begun: Place) -> None:
    before = published_digests(begun)
    moment = random.Random(seed).uniform(0, 0.6)
    killer = threading.Timer(moment, mortal.kill)

    def step(name: str) -> None:
        if name == "warehouse":
            killer.start()

    try:
        run_stitch(request(begun, Rules()), step=step)
    except DatabaseError:
        pass
    finally:
        killer.join()
        mortal.start()
    assert_repaired(begun, before)


def test_a_reader_sees_the_publication_before_until_the_next_is_whole(begun: Place) -> None:
    before, seen = published_digests(begun), []
    run_stitch(request(begun, Rules()), step=lambda _: seen.append(published_digests(begun)))
    assert seen[:-1] == [before] * 4
    assert seen[-1] == published_digests(begun) != before


def test_a_rebuild_never_shows_empty_tables(begun: Place) -> None:
    stitch_home(begun, Rules())
    before, seen = published_digests(begun), []
    run_stitch(request(begun, Rules()), rebuild=True, step=lambda _: seen.append(published_digests(begun)))
    assert seen == [before] * 5


def test_a_second_writer_is_told_who_writes(begun: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warehouse.postgres.places.PATIENCE", 0.2)
    with places_of(begun.home, begun.store_url, purpose="stream"):
        with pytest.raises(
            StoreBusyError, match=r"milepost stream, process \d+ on .* since .* writes to"
        ) as busy:
            stitch_home(begun, Rules())
        assert str(begun.store_url).split(":")[2].split("@")[0] not in str(busy.value)
    stitch_home(begun, Rules())


def test_a_process_that_finds_its_own_session_is_told_so(
    begun: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.postgres.places.PATIENCE", 0.2)
    with places_of(begun.home, begun.store_url, purpose="stream") as held:
        with pytest.raises(StoreBusyError, match=r"a session of this very process, since .* within a minute"):
            open_places(begun.home, begun.store_url, purpose="stream")
        settings = "current_setting('tcp_keepalives_count'), current_setting('tcp_user_timeout')"
        assert isinstance(held, PostgresPlaces)
        assert held.session.rows(f"SELECT {settings}") == [("3", "60000")]
    stitch_home(begun, Rules())


def test_a_failed_publication_leaves_open_places_usable(begun: Place) -> None:
    def fail(name: str) -> None:
        if name == "commit":
            raise RuntimeError(name)

    before = published_digests(begun)
    with pytest.raises(RuntimeError, match="commit"):
        run_stitch(request(begun, Rules()), step=fail)
    assert_repaired(begun, before)
