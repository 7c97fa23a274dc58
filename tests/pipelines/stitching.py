"""Helpers for tests of the stitch: hostile facts on a real bus, and what the tables must be."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import polars as pl

from connectors.bus import Bus
from milepost.facts import stand
from milepost.rules import Rules
from milepost.stitch import Tables, stitch
from pipelines.stitch import StitchRequest, facts_on, run_stitch
from pipelines.stitch_publish import StitchReport
from schemas.vocabulary import load_vocabulary
from tests.places import Place
from warehouse.audit import quarantine
from warehouse.digest import frame_digests
from warehouse.places import places_of

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def expected_tables(facts: dict[str, pl.DataFrame], rules: Rules) -> Tables:
    """Give the tables by the heart alone, without what row-level expectations set aside."""
    good, _ = quarantine({name: stand(frame).facts for name, frame in facts.items()})
    return stitch(good, load_vocabulary(), rules)


def put_batches(facts: dict[str, pl.DataFrame], batches: int, seed: int) -> list[dict[str, pl.DataFrame]]:
    """Deal facts at random into batches."""
    chance = random.Random(seed)
    dealt: list[dict[str, pl.DataFrame]] = [{} for _ in range(batches)]
    for name, frame in facts.items():
        rows = list(range(frame.height))
        chance.shuffle(rows)
        for number in range(batches):
            part = frame[rows[number::batches]]
            if part.height:
                dealt[number][name] = part
    return dealt


def put(place: Place, facts: dict[str, pl.DataFrame], number: int) -> None:
    """Put a batch of facts on the home's bus."""
    for name, frame in facts.items():
        Bus(place.home).put(f"batch{number}", name, frame, received_at=0)


def request(place: Place, rules: Rules, rules_hash: str = "rules") -> StitchRequest:
    """Ask for everything on the home's bus to be stitched."""
    files = facts_on(Bus(place.home))
    return StitchRequest(
        place.home, files, load_vocabulary(), rules, rules_hash, NOW, store_url=place.store_url
    )


def stitch_home(place: Place, rules: Rules, *, rebuild: bool = False) -> StitchReport:
    """Stitch what is on the home's bus."""
    return run_stitch(request(place, rules), rebuild=rebuild)


def published_digests(place: Place) -> dict[str, str]:
    """Give the digests of the tables in the warehouse."""
    with places_of(place.home, place.store_url, reading=True) as places:
        return places.warehouse.digests()


def assert_published(place: Place, expected: Tables) -> None:
    """Fail with the names of the tables that are not as expected."""
    want, got = frame_digests(expected), published_digests(place)
    assert [name for name in want if got[name] != want[name]] == []
