"""What a stitcher holds it lets go of, whatever fails; and a snapshot that fails is tried again."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from connectors.kafka.settings import KafkaSettings
from milepost.rules import Rules
from milepost.stream_settings import StreamSettings
from pipelines import stream_stitch
from pipelines.kafka_source import Delivery
from pipelines.stream_stitch import (
    StitchStreamSettings,
    close_stitchers,
    drop_stitchers,
    snapshot_pause,
    stitcher_of,
)
from schemas.vocabulary import load_vocabulary
from warehouse.places import open_places, places_of
from warehouse.snapshot import SNAPSHOT


@pytest.fixture
def settings(tmp_path: Path) -> StitchStreamSettings:
    home = tmp_path / "home"
    home.mkdir()
    with places_of(home) as places:
        places.warehouse.create(load_vocabulary())
    return StitchStreamSettings(
        home=home,
        kafka=KafkaSettings(bootstrap_servers=("127.0.0.1:1",)),
        stream=StreamSettings(),
        vocabulary=load_vocabulary(),
        rules=Rules(),
        rules_hash="rules",
        versions={"shop": "m-1"},
        systems=frozenset(),
    )


def assert_free(home: Path) -> None:
    """Store and warehouse can be opened again: nobody holds them."""
    open_places(home, None, purpose="test").close()


def test_a_stitcher_that_does_not_come_up_leaves_nothing_open(
    settings: StitchStreamSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no versions")

    monkeypatch.setattr(stream_stitch, "remember_versions", fail)
    with pytest.raises(RuntimeError, match="no versions"):
        stitcher_of(settings)
    assert_free(settings.home)


@pytest.mark.parametrize("end", [close_stitchers, drop_stitchers])
def test_all_is_let_go_of_where_one_part_fails(
    end: object, settings: StitchStreamSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stitcher = stitcher_of(settings)
    closed = []

    def fail() -> None:
        closed.append("announcer")
        raise RuntimeError("stuck")

    monkeypatch.setattr(stitcher.announcer, "close", fail)
    if end is close_stitchers:
        monkeypatch.setattr(stitcher, "_snapshot_due", True)
        (settings.home / SNAPSHOT).mkdir()
        with pytest.raises(RuntimeError, match="stuck"):
            close_stitchers()
    else:
        drop_stitchers()
    assert closed == ["announcer"]
    assert_free(settings.home)


def test_a_snapshot_that_fails_is_told_and_tried_again(
    settings: StitchStreamSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stitcher = stitcher_of(settings)
    in_the_way = settings.home / SNAPSHOT
    in_the_way.mkdir()
    try:
        stitcher._snapshot_due = True
        with caplog.at_level(logging.WARNING):
            stitcher.work(Delivery((), ()))
        assert "Could not publish" in caplog.text
        assert "trying again in 60 s" in caplog.text
        in_the_way.rmdir()
        stitcher.work(Delivery((), ()))
        assert not in_the_way.exists(), "not at once"
        monkeypatch.setattr(stitcher, "_next_snapshot", 0.0)
        stitcher.work(Delivery((), ()))
        assert in_the_way.is_file()
    finally:
        close_stitchers()


@pytest.mark.parametrize(
    ("took", "pause"),
    [(0.1, 2.0), (1.0, 20.0), (6.0, 60.0), (15.0, 60.0), (30.0, 120.0), (300.0, 1200.0)],
)
def test_snapshots_take_a_fifth_of_the_time_at_most(took: float, pause: float) -> None:
    assert snapshot_pause(took, 60.0) == pytest.approx(pause)
    assert took / (took + snapshot_pause(took, 60.0)) <= 0.2 + 1e-9
