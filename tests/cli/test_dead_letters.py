"""`milepost dead-letters list` and `show`, from files and from PostgreSQL; what came by stream says where it is."""

from __future__ import annotations

import json

import polars as pl
from typer.testing import CliRunner

from connectors.bus import Bus
from connectors.dead_letters import LARGEST_PAYLOAD, STREAMED, Reject, dead_letters
from connectors.dead_letters import Place as Origin
from milepost.cli import app
from milepost.cli.live import _freshness, print_live
from schemas.vocabulary import load_vocabulary
from tests.places import Place
from warehouse.places import places_of


def milepost(place: Place, *words: str) -> str:
    store = [] if place.store_url is None else ["--store", place.store_url]
    done = CliRunner().invoke(app, ["dead-letters", *words, "--home", str(place.home), *store])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_letters_are_read_from_where_the_tables_are_and_payloads_from_where_they_lie(place: Place) -> None:
    raw_zone = Bus(place.home).raw_zone
    streamed = Origin("web", "map", f"{STREAMED}milepost.raw.web/2", 0)
    rejects = [
        Reject("bad_value", "small", b'{"a": 1}', 17),
        Reject("bad_value", "large", b"x" * (LARGEST_PAYLOAD + 1), 18),
    ]
    letters = pl.concat(
        [
            dead_letters(rejects, streamed, raw_zone),
            dead_letters(
                [Reject("bad_value", "old", b"gone", 3)], Origin("shop", "map", "a.csv", 0), raw_zone
            ),
        ]
    )
    with places_of(place.home, place.store_url) as places:
        places.warehouse.create(load_vocabulary())
        places.warehouse.record_dead_letters(letters)
    found = json.loads(milepost(place, "list", "--json"))
    assert {letter["reason"].split(": ")[-1] for letter in found} == {"small", "large", "old"}

    def payload(reason: str) -> str:
        [one] = [letter for letter in found if letter["reason"].endswith(reason)]
        shown = json.loads(milepost(place, "show", one["dead_letter_id"], "--payload", "--json"))
        return str(shown["payload"])

    where = "on Kafka, as long as retention keeps it: topic milepost.raw.web, partition 2, offset "
    assert payload("small") == f"{where}17"
    assert payload("large") == "x" * (LARGEST_PAYLOAD + 1)
    for file in raw_zone.iterdir():
        file.unlink()
    assert payload("large") == f"{where}18"
    assert payload("old") == "no longer kept"


def test_freshness_beyond_the_last_bound_is_json_and_said_in_words(capsys) -> None:  # type: ignore[no-untyped-def]
    from prometheus_client import CollectorRegistry, Histogram, generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    registry = CollectorRegistry()
    histogram = Histogram("milepost_freshness_seconds", "", buckets=(1, 3600), registry=registry)
    for seconds in (0.5, 0.5, 4000, 9000):
        histogram.observe(seconds)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    fresh = _freshness([sample for family in families for sample in family.samples])
    assert json.dumps(fresh, allow_nan=False) == '{"half_within": 1.0, "99_of_100_within": null}'
    live = {"parts": [], "lag": {}, "fates": {}, "published_seconds_ago": 1.0, "files_waiting": 0}
    print_live(live | {"freshness_seconds": fresh})
    said = " ".join(capsys.readouterr().out.split())
    assert "half of the facts within 1 s, 99 of 100 more than an hour" in said
