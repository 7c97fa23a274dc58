"""What an older mapping made gives way to what today's makes, in batches and rebuilds; a replay takes the rest out."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from connectors.bus import Bus
from milepost.rules import Rules
from pipelines.mapping_versions import drop_older, remember_versions
from pipelines.staging import Staging
from pipelines.stitch import StitchRequest, facts_on, publish_increment, run_stitch
from pipelines.stitch_publish import Change
from pipelines.stitch_rebuild import StitchSettings
from schemas.contracts import empty_facts
from schemas.vocabulary import load_vocabulary
from tests.pipelines.stitching import NOW
from tests.pipelines.test_unit_cache import decoded
from tests.places import Place
from warehouse.places import Places, places_of

OLD, NEW = {"mail": "v1"}, {"mail": "v2"}


def touch(event_id: str, kind: str, received: int = 1) -> dict[str, object]:
    """Give a touchpoint of one person, as a mapping made it."""
    moment = datetime(2024, 1, received, tzinfo=UTC)
    return {
        "event_id": event_id.rjust(32, "0"), "revision": 0, "source": "mail", "kind": kind, "channel": "email",
        "team": "marketing", "reach": "one_to_many", "occurred_at": datetime(2024, 1, 1, tzinfo=UTC),
        "received_at": moment, "identifiers": ["cookie:c"], "booking_number": 0,
    }  # fmt: skip


def publish(
    places: Places, place: Place, rows: list[dict[str, object]], version: str, older: frozenset[str]
) -> None:
    """Publish streamed facts of a mapping version."""
    schema = empty_facts("touchpoint").schema
    frame = pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)
    settings = StitchSettings(Staging(str(place.home / "staging")), load_vocabulary(), Rules(), "test", older)
    facts, nodes = decoded({"touchpoint": frame})
    facts = {
        name: part.with_columns(pl.lit(version).alias("mapping_version")) for name, part in facts.items()
    }
    publish_increment(places, settings, facts, nodes, Change(NOW, "rules", offsets={("t", 0): 1}))


def request(place: Place, versions: dict[str, str]) -> StitchRequest:
    return StitchRequest(
        place.home,
        facts_on(Bus(place.home)),
        load_vocabulary(),
        Rules(),
        "rules",
        NOW,
        versions,
        place.store_url,
    )


def kinds(place: Place) -> dict[str, str]:
    with places_of(place.home, place.store_url) as places:
        types = {"event_id": pl.String(), "kind": pl.String()}
        found = places.warehouse.query("SELECT event_id, kind FROM journey.touchpoints", types)
    return {event_id.lstrip("0"): kind for event_id, kind in found.iter_rows()}


def test_what_todays_mapping_made_stands_whenever_it_came(place: Place) -> None:
    """The older fact came first, and came later once more: both times it gives way."""
    with places_of(place.home, place.store_url) as places:
        places.warehouse.create(load_vocabulary())
        remember_versions(places.store, OLD)
        older = remember_versions(places.store, NEW)
        assert older == {"v1"}
        publish(places, place, [touch("a", "email_opened", 1)], "v1", older)
        publish(places, place, [touch("a", "email_clicked", 3)], "v2", older)
        publish(places, place, [touch("a", "email_opened", 1)], "v1", older)
    assert kinds(place) == {"a": "email_clicked"}
    run_stitch(request(place, NEW), rebuild=True)
    assert kinds(place) == {"a": "email_clicked"}


@pytest.mark.parametrize("rebuild", [False, True])
def test_what_a_file_says_stands_before_what_an_older_mapping_made_of_a_stream(
    rebuild: bool, place: Place
) -> None:
    with places_of(place.home, place.store_url) as places:
        places.warehouse.create(load_vocabulary())
        remember_versions(places.store, OLD)
        publish(places, place, [touch("a", "email_opened", 1)], "v1", frozenset())
    schema = empty_facts("touchpoint").schema
    said = {**touch("a", "email_clicked", 5), "mapping_version": "v2", "raw_ids": ["r"]}
    Bus(place.home).put(
        "mail", "touchpoint", pl.DataFrame([{n: said.get(n) for n in schema}], schema=schema), 0
    )
    run_stitch(request(place, NEW), rebuild=rebuild)
    assert kinds(place) == {"a": "email_clicked"}


def test_a_replay_that_is_cut_off_is_repaired_by_the_next_stitch(place: Place) -> None:
    """Taken out are facts of older mappings, remembered or not, of that source, from a time on; all others stay."""
    with places_of(place.home, place.store_url) as places:
        places.warehouse.create(load_vocabulary())
        remember_versions(places.store, {**OLD, "shop": "s1"})
        rows = [touch("a", "email_opened", 1), touch("b", "email_opened", 9)]
        publish(places, place, rows, "v1", frozenset())
        publish(places, place, [touch("c", "email_opened", 9)], "v0", frozenset())
        publish(places, place, [{**touch("d", "email_opened", 9), "source": "shop"}], "s1", frozenset())
        publish(places, place, [touch("e", "email_opened", 9)], "s1", frozenset())
        publish(places, place, [touch("f", "email_opened", 9)], "v2", frozenset())
        since = datetime(2024, 1, 5, tzinfo=UTC)
        assert drop_older(places.store, {**NEW, "shop": "s1"}, "mail", "mail", since) == 2
    report = run_stitch(request(place, {**NEW, "shop": "s1"}))
    assert report.reasons == ("a replay took facts out",)
    assert set(kinds(place)) == {"a", "d", "e", "f"}
    assert run_stitch(request(place, {**NEW, "shop": "s1"})).mode == "nothing"
