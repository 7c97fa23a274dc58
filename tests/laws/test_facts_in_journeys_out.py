"""Law 1: the tables are a function of the set of facts, whatever their order, copies and batches."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from random import Random

import polars as pl
import pytest

from milepost.stitch import stitch
from tests.conftest import LAW_RUNS
from tests.laws.comparison import assert_same, sorted_tables
from tests.reference import Tables
from tests.strategies import VOCABULARY, hostile_facts, hostile_rules, rows_of, to_frames

SEED = 25
FRAMES = to_frames(hostile_facts(SEED, size=300))
RULES = hostile_rules(SEED)


def tables_of(frames: dict[str, pl.DataFrame]) -> Tables:
    # received_at says when, not what: the digest leaves it out too.
    return sorted_tables(rows_of(stitch(frames, VOCABULARY, RULES)), leave_out=("received_at",))


@cache
def undisturbed() -> Tables:
    return tables_of(FRAMES)


def disturbed(frame: pl.DataFrame, random: Random) -> pl.DataFrame:
    """The same deliveries in another order, some of them twice or again years later, in batches."""
    if frame.is_empty():
        return frame
    copies = [frame, frame.sample(fraction=random.random() / 2, seed=random.randrange(2**31))]
    late = frame.sample(fraction=random.random() / 2, seed=random.randrange(2**31))
    # Later than any other, so that of two that differ the same one stands.
    delay = timedelta(days=20_000 + random.randrange(2000))
    copies.append(late.with_columns(pl.col("received_at") + delay, raw_ids=pl.lit(["again"])))
    shuffled = pl.concat(copies).sample(fraction=1, shuffle=True, seed=random.randrange(2**31))
    batch = random.randrange(1, shuffled.height + 1)
    batches = [shuffled[start : start + batch] for start in range(0, shuffled.height, batch)]
    random.shuffle(batches)
    return pl.concat(batches, rechunk=False)


@pytest.mark.parametrize("seed", range(LAW_RUNS))
def test_order_copies_and_batches_change_nothing(seed: int) -> None:
    random = Random(seed)
    again = tables_of({name: disturbed(frame, random) for name, frame in FRAMES.items()})
    assert_same(undisturbed(), again, f"seed {seed}")


def test_the_facts_are_hostile_enough() -> None:
    tables = undisturbed()
    assert {row["status"] for row in tables["identity_links"]} >= {"joined", "refused", "shared"}
    assert {row["status"] for row in tables["retractions"]} >= {"applied", "rejected"}
    assert {row["status"] for row in tables["erasures"]} >= {"applied"}
    assert {row["status"] for row in tables["handovers"]} == {"applied", "ignored"}
    assert all(tables.values())
