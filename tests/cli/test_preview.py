"""What would change is what does change: the tables after it are those before it with the listed changes."""

from datetime import UTC, datetime

import polars as pl

from milepost.cli.preview import compare, preview
from milepost.rules import Rules
from milepost.stitch import stitch
from schemas.contracts import frame_schema
from schemas.tables import load_tables
from schemas.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary()
DAY = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 10)]


def facts(name, *rows):
    schema = frame_schema(name)
    filled = [{column: row.get(column) for column in schema} for row in rows]
    return pl.DataFrame(filled, schema=schema)


def touch(event_id, kind, day, *identifiers, **more):
    words = VOCABULARY.kinds[kind]
    return {
        "event_id": event_id,
        "revision": 0,
        "source": "shop",
        "kind": kind,
        "channel": words.channel,
        "team": words.team,
        "reach": words.reach,
        "occurred_at": DAY[day],
        "identifiers": list(identifiers),
        "booking_number": 0,
        "products": [],
        "received_at": DAY[8],
        "raw_ids": [],
        "mapping_version": "",
        **more,
    }


TOUCHES = facts(
    "touchpoint",
    touch("1", "site_visit", 0, "cookie:a"),
    touch("2", "sign_up", 1, "cookie:a", "user:1"),
    touch("3", "order", 2, "user:1", amount_micros=5_000_000, currency="EUR"),
    touch("4", "site_visit", 3, "cookie:b"),
)


def retraction(**target):
    return facts(
        "retraction",
        {"event_id": "9", "revision": 0, "source": "manual", "retracted_at": DAY[5], "received_at": DAY[5]}
        | {"raw_ids": [], "mapping_version": ""}
        | target,
    )


def test_a_retracted_order_shows_every_row_that_goes_with_it():
    changes = preview(
        {"touchpoint": TOUCHES}, {"retraction": retraction(target_event_id="3")}, VOCABULARY, Rules()
    )
    found = {(change.table, change.change) for change in changes}
    assert {("touchpoints", "removed"), ("conversions", "removed"), ("journeys", "changed")} <= found
    assert ("retractions", "added") in found
    journey = next(change for change in changes if change.table == "journeys")
    assert journey.columns["status"] == ("customer", "open")
    assert journey.columns["booked_micros"] == (5_000_000, None)


def test_the_changes_are_the_whole_difference():
    added = {"retraction": retraction(link_a="user:1", link_b="cookie:a")}
    before = stitch({"touchpoint": TOUCHES}, VOCABULARY, Rules())
    after = stitch({"touchpoint": TOUCHES, **added}, VOCABULARY, Rules())
    listed = preview({"touchpoint": TOUCHES}, added, VOCABULARY, Rules())
    for name, table in load_tables().items():
        if name not in before:
            continue
        mine = [change for change in listed if change.table == name]
        changed = {"removed": -1, "added": 1, "changed": 0}
        assert before[name].height + sum(changed[change.change] for change in mine) == after[name].height
        keys = {tuple(change.key.values()) for change in mine}
        for frame, other in ((before[name], after[name]), (after[name], before[name])):
            for row in frame.join(other, on=frame.columns, how="anti", nulls_equal=True).iter_rows(
                named=True
            ):
                assert tuple(row[column] for column in table.key) in keys


def test_equal_tables_have_no_changes():
    tables = stitch({"touchpoint": TOUCHES}, VOCABULARY, Rules())
    for name, frame in tables.items():
        assert compare(load_tables()[name], frame, frame) == []
