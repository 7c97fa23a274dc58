"""The digest: equal rows, equal hash, from a database or from frames, in any order."""

from __future__ import annotations

import hashlib
import random
from datetime import timedelta
from decimal import Decimal
from functools import cache

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tables import load_tables
from tests.places import Place, filled
from tests.warehouse.filling import STORY, at, frame, warehouse
from warehouse.definitions import write_frames
from warehouse.digest import frame_digest, frame_digests, frames_digest, table_digests, warehouse_digest

EMPTY = {name: table.empty() for name, table in load_tables().items()}
FRAMES = EMPTY | {name: frame(name, rows) for name, rows in STORY.items()}
EXAMPLES = settings(max_examples=40, deadline=None)

HOSTILE_TEXTS = [
    "\x0b\x1f\x7f", r"\u000B", "\\\x0b", "\\\\\x1a\x1a", "\x00", '"\\/\n', "é€😀\u2028", "", "\ufeff\ufffe",
]  # fmt: skip
HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(HOSTILE_TEXTS)


def test_a_digest_is_what_its_definition_says() -> None:
    rows = frame("spend_shares", STORY["spend_shares"])
    line = (
        '{"amount_micros":40000000,"campaign_id":"spring","currency":"EUR","day":"2026-01-05",'
        '"spend_id":"s1","touch_id":"t01"}\n'
    )
    assert frame_digest(load_tables()["spend_shares"], rows) == hashlib.sha256(line.encode()).hexdigest()


def test_database_and_frames_give_one_digest() -> None:
    assert table_digests(warehouse(STORY)) == frame_digests(FRAMES)
    assert warehouse_digest(warehouse(STORY)) == frames_digest(FRAMES)
    assert warehouse_digest(warehouse({})) == frames_digest(EMPTY)


@cache
def empty_warehouse() -> duckdb.DuckDBPyConnection:
    """Give one warehouse to all examples: each replaces its rows."""
    return warehouse({})


@EXAMPLES
@given(
    st.lists(
        st.tuples(
            HOSTILE,
            st.none() | HOSTILE,
            st.none() | st.lists(st.none() | HOSTILE, max_size=3),
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.booleans(),
            st.none() | st.timedeltas(timedelta(-700_000), timedelta(700_000)),
        ),
        max_size=5,
    )
)
def test_database_and_frames_agree_on_hostile_values(values: list[tuple[object, ...]]) -> None:
    rows = [
        {"event_id": event, "content": content, "products": products, "amount_micros": amount, "books": books,
         "occurred_at": None if since is None else at("2026-01-01") + since}
        for event, content, products, amount, books, since in values
    ]  # fmt: skip
    frames = EMPTY | {"touchpoints": frame("touchpoints", rows)}
    connection = empty_warehouse()
    write_frames(connection, {"touchpoints": frames["touchpoints"]}, "replace")
    assert table_digests(connection) == frame_digests(frames)


def test_every_kind_of_warehouse_gives_one_digest(place: Place) -> None:
    chance = random.Random(4)
    texts = [
        *HOSTILE_TEXTS,
        *("".join(chance.choices('\x01\x1f\\"u0000é€😀 \u2028aZ_', k=6)) for _ in range(200)),
    ]
    texts = [text.replace("\x00", "") for text in texts]
    touches = [
        {
            "event_id": f"{text}{number}",
            "content": text or None,
            "products": chance.choice([None, [], [text, None, "", "{NULL}", 'a"b,c'], ["NULL"]]),
            "amount_micros": chance.choice([None, 0, 2**63 - 1, -(2**63)]),
            "books": chance.choice([None, True, False]),
            "occurred_at": at("2026-01-01") + timedelta(microseconds=chance.randint(-(10**16), 10**16)),
        }
        for number, text in enumerate(texts)
    ]
    credited = [
        {"conversion_id": str(number), "credit": Decimal(number * 7_777_777_777) / 10**12, "channel": text}
        for number, text in enumerate(texts)
    ]
    of_channels = [
        {"model": "markov", "channel": text, "credit": Decimal(10**25 + number) / 10**12}
        for number, text in enumerate(texts)
    ]
    days = [
        {"event_id": text, "day": at("1970-01-01").date() + timedelta(days=n)} for n, text in enumerate(texts)
    ]
    frames = FRAMES | {
        "touchpoints": frame("touchpoints", touches),
        "credits": frame("credits", credited),
        "channel_credits": frame("channel_credits", of_channels),
        "spend": frame("spend", days),
    }
    with filled(place, frames) as database:
        assert database.digests() == frame_digests(frames)


def test_order_of_rows_and_columns_and_received_at_do_not_count() -> None:
    touches = FRAMES["touchpoints"]
    shuffled = touches.sample(fraction=1, shuffle=True, seed=1).select(sorted(touches.columns))
    shuffled = shuffled.with_columns(received_at=pl.lit(at("1999-01-01")))
    assert frames_digest(FRAMES | {"touchpoints": shuffled}) == frames_digest(FRAMES)


def test_any_other_value_counts_and_the_table_is_named() -> None:
    changed = FRAMES | {"spend": FRAMES["spend"].with_columns(pl.col("amount_micros") + 1)}
    before, after = frame_digests(FRAMES), frame_digests(changed)
    assert [name for name in before if before[name] != after[name]] == ["spend"]


def test_tables_that_are_no_function_of_the_facts_are_left_out() -> None:
    later = FRAMES | {"clock": frame("clock", [{"as_of": at("2030-01-01")}])}
    assert frames_digest(later) == frames_digest(FRAMES)


def test_a_missing_table_is_an_error_and_not_an_empty_one() -> None:
    with pytest.raises(ValueError, match="no frame for: money"):
        frames_digest({name: rows for name, rows in FRAMES.items() if name != "money"})
