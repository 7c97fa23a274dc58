"""A process that keeps store and warehouse open: batch by batch, on every kind of store, with and without the cache."""

from __future__ import annotations

import json
from random import Random

import polars as pl
import pytest

from milepost.rules import Rules
from pipelines.staging import Staging
from pipelines.stitch import publish_increment
from pipelines.stitch_publish import Change, StitchReport
from pipelines.stitch_rebuild import StitchSettings
from pipelines.unit_cache import with_cache
from schemas.vocabulary import load_vocabulary
from tests.pipelines.stitching import (
    NOW,
    assert_published,
    expected_tables,
    published_digests,
    put_batches,
    stitch_home,
)
from tests.pipelines.test_unit_cache import decoded
from tests.places import Place
from tests.strategies import START, fact, hostile_facts, to_frames
from warehouse.audit.result import COMPLETE
from warehouse.places import Places, places_of

TOPIC = "milepost.touchpoint"


def publish(places: Places, place: Place, batch: dict[str, pl.DataFrame], offset: int) -> StitchReport:
    """Publish a batch as a stream does."""
    settings = StitchSettings(Staging(str(place.home / "staging")), load_vocabulary(), Rules(), "test")
    facts, nodes = decoded(batch)
    streamed = {
        name: frame.with_columns(pl.lit("m-1").alias("mapping_version")) for name, frame in facts.items()
    }
    change = Change(NOW, "rules", offsets={(TOPIC, 0): offset}, announce=True)
    return publish_increment(places, settings, streamed, nodes, change)


def journeys(places: Places) -> pl.DataFrame:
    columns = "customer_id, status, touches, first_touch_at, booked_micros"
    types = {
        "customer_id": pl.String(), "status": pl.String(), "touches": pl.Int64(),
        "first_touch_at": pl.Datetime("us", "UTC"), "booked_micros": pl.Int64(),
    }  # fmt: skip
    return places.warehouse.query(f"SELECT {columns} FROM journey.journeys", types).sort("customer_id")


@pytest.mark.parametrize("cached", [False, True], ids=["plain", "cached"])
def test_batches_into_open_places_give_the_tables_of_the_heart_and_tell_who_changed(
    cached: bool, place: Place
) -> None:
    facts = to_frames(hostile_facts(31, 150))
    batches = put_batches(facts, 4, 31)
    with places_of(place.home, place.store_url) as places:
        places.warehouse.create(load_vocabulary())
        if cached:
            places.store = with_cache(places.store)
        for number, batch in enumerate([*batches, batches[1]]):
            before = journeys(places)
            report = publish(places, place, batch, number + 1)
            after = journeys(places)
            told = set(places.store.outbox(10_000).get_column("customer_id"))
            both = before.join(after, on=before.columns, how="semi", nulls_equal=True)
            changed = {*before.get_column("customer_id"), *after.get_column("customer_id")}
            changed -= set(both.get_column("customer_id"))
            assert changed <= told
            assert report.publication is not None
            assert places.store.fact_count() == report.publication.facts
            places.store.clear_outbox(2**40)
        assert told == set(), "the last batch was one of duplicates"
        assert places.store.offsets() == {(TOPIC, 0): 5}
    assert_published(place, expected_tables(facts, Rules()))
    before_rebuild = published_digests(place)
    assert stitch_home(place, Rules(), rebuild=True).mode == "rebuild"
    assert published_digests(place) == before_rebuild


def test_what_is_streamed_stays_known_as_streamed(place: Place) -> None:
    facts = to_frames(hostile_facts(32, 60))
    with places_of(place.home, place.store_url) as places:
        places.warehouse.create(load_vocabulary())
        publish(places, place, facts, 1)
        assert places.store.streamed_facts("touchpoint").get_column("mapping_version").unique().to_list() == [
            "m-1"
        ]


def test_a_batch_keeps_of_its_audit_what_failed_and_how_much_was_asked(place: Place) -> None:
    kept = {"published_at": pl.Datetime("us", "UTC"), "audit": pl.String(), "audit_result": pl.String()}
    listed = f"SELECT {', '.join(kept)} FROM journey.publications"
    with places_of(place.home, place.store_url) as places:
        places.warehouse.create(load_vocabulary())
        report = publish(places, place, to_frames(hostile_facts(33, 60)), 1)
        ((_, audit, verdict),) = places.warehouse.query(listed, kept).rows()
    assert report.audit is not None
    assert verdict == report.audit.verdict
    *failed, complete = json.loads(audit)
    assert [one["expectation"] for one in failed] == [one.expectation for one in report.audit.warnings]
    assert complete["expectation"] == COMPLETE
    assert complete["rows"] == len(report.audit.results) - 1 > 50
    stitch_home(place, Rules(), rebuild=True)
    with places_of(place.home, place.store_url) as places:
        audits = places.warehouse.query(listed, kept).get_column("audit").to_list()
    assert max(len(json.loads(one)) for one in audits) > 50


def longest_names(number: int) -> dict[str, pl.DataFrame]:
    """Give facts whose names are as long as any ever let in, in letters that no database packs small."""
    chance = Random(7)
    names = ["".join(chr(chance.randrange(0x20000, 0x2A6D0)) for _ in range(490)) for _ in range(6)]
    user, cookie, account, deal, campaign, attribute = names
    user, cookie = f"user:{user}", f"cookie:{cookie}"
    link = fact("identity_link", number, a=user, b=cookie, seen_at=START, confirmed=True)
    profiles = [
        fact(
            "profile", 10 * number + at, subject_type=kind, subject_id=subject, attribute=attribute, value="yes",
            valid_from=START,
        )
        for at, (kind, subject) in enumerate([("customer", user), ("account", account)])
    ]  # fmt: skip
    touch = fact(
        "touchpoint", number, kind="order", occurred_at=START, identifiers=[user, cookie], account_id=account,
        opportunity_id=deal, campaign_id=campaign, amount_micros=5, currency="EUR",
    )  # fmt: skip
    spent = fact(
        "spend",
        number,
        campaign_id=campaign,
        channel="email",
        day=START.date(),
        amount_micros=3,
        currency="EUR",
    )
    asked = fact(
        "consent", number, identifier=cookie, purpose="analytics", granted=True, decided_at=START,
        means_erasure=False,
    )  # fmt: skip
    return to_frames(
        {
            "identity_link": [link],
            "profile": profiles,
            "touchpoint": [touch],
            "spend": [spent],
            "consent": [asked],
        }
    )


def test_the_longest_names_stop_no_stream(place: Place) -> None:
    batches = [longest_names(number) for number in (1, 2)]
    with places_of(place.home, place.store_url) as places:
        places.warehouse.create(load_vocabulary())
        for number, batch in enumerate(batches, 1):
            publish(places, place, batch, number)
    facts = {name: pl.concat([batch[name] for batch in batches]) for name in batches[0]}
    assert_published(place, expected_tables(facts, Rules()))
    assert expected_tables(facts, Rules())["identity_links"].height == 1
