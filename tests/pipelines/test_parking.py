"""What an audit will not have in a stream is parked: the same facts in whatever order, each to be found again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from connectors.bus import Bus
from connectors.kafka.columns import ByteColumn, Partition, Records
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics, fact_topic
from connectors.kafka.wire import encode_messages
from milepost.rules import Rules
from milepost.stream_settings import StreamSettings
from pipelines import stream_stitch
from pipelines.kafka_source import STOPPING, Delivery
from pipelines.parking import group_facts
from pipelines.stream_stitch import Stitcher, StitchStreamSettings, close_stitchers, stitcher_of
from schemas.vocabulary import load_vocabulary
from tests.brokers import running_broker, settings_for
from tests.cli.publishing import facts, touch
from warehouse.places import places_of

#: The largest plausible amount. So many of one customer are just within 64 bits; one more is too, and two are not.
LARGE, NEARLY = 10**17, 91
#: Customers who have nearly too much, each in a currency of their own.
CURRENCIES = dict(
    zip("bklmnopqr", ["EUR", "USD", "GBP", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK"], strict=True)
)
LETTERS = {
    "dead_letter_id": pl.String(),
    "step": pl.String(),
    "error_class": pl.String(),
    "reason": pl.String(),
    "payload_ref": pl.String(),
}


def order(event_id: str, amount: int = 1_000_000) -> dict[str, object]:
    """Make an order: a small one is its customer's only one, a large one of the customer that its id begins with."""
    customer = event_id[0] if amount == LARGE else event_id
    currency = CURRENCIES.get(event_id[0], "EUR")
    return touch(event_id, "order", 1, f"user:{customer}", amount_micros=amount, currency=currency)


def nearly_too_much(customers: str) -> list[dict[str, object]]:
    return [order(f"{customer}-before-{number}", LARGE) for customer in customers for number in range(NEARLY)]


#: `b1` and `b2` break a law only together; all others are good.
ORDERS = [
    *(order(f"a{number}") for number in range(6)),
    *(order(f"b{number}", LARGE) for number in (1, 2)),
    *(order(f"c{number}") for number in range(6)),
]
GOOD = [f"{letter}{number}" for letter in "ac" for number in range(6)]


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaSettings]:
    with running_broker() as broker:
        settings = settings_for(broker)
        ensure_topics(settings, [], 1)
        yield settings


@pytest.fixture
def settings(kafka: KafkaSettings, tmp_path: Path) -> Iterator[StitchStreamSettings]:
    home = tmp_path / "home"
    home.mkdir()
    with places_of(home) as places:
        places.warehouse.create(load_vocabulary())
    yield StitchStreamSettings(
        home=home,
        kafka=kafka,
        stream=StreamSettings(pace_seconds=0.2),
        vocabulary=load_vocabulary(),
        rules=Rules(),
        rules_hash="rules",
        versions={"shop": "m-1"},
        systems=frozenset(),
    )
    STOPPING.clear()
    close_stitchers()


def delivery(kafka: KafkaSettings, touches: list[dict[str, object]], begin: int = 1_000) -> Delivery:
    """Give touchpoints as Kafka brings them, from an offset on."""
    at = Partition(fact_topic(kafka, "touchpoint"), 0)
    frame = facts("touchpoint", *(one | {"mapping_version": "m-1"} for one in touches))
    values = ByteColumn.of([*encode_messages("touchpoint", frame)])
    nothing = ByteColumn.of([None] * len(touches))
    offsets = np.arange(begin, begin + len(touches), dtype=np.int64)
    records = Records(at, offsets, offsets + 1_767_225_600_000, nothing, values, nothing)
    return Delivery((records,), ((at, begin + len(touches)),))


def parked(stitcher: Stitcher) -> pl.DataFrame:
    letters = stitcher.places.warehouse.query(
        f"SELECT {', '.join(LETTERS)} FROM journey.dead_letters", LETTERS
    )
    return letters.sort("dead_letter_id")


def conversions(stitcher: Stitcher) -> list[str]:
    found = stitcher.places.warehouse.query(
        "SELECT conversion_id FROM journey.conversions", {"conversion_id": pl.String()}
    )
    return sorted(one for one in found.get_column("conversion_id") if "before" not in one)


@pytest.mark.parametrize("backwards", [False, True])
def test_two_facts_that_fail_together_are_parked_together_in_any_order(
    backwards: bool, settings: StitchStreamSettings
) -> None:
    stitcher = stitcher_of(settings)
    stitcher.work(delivery(settings.kafka, nearly_too_much("b"), 0))
    assert parked(stitcher).is_empty()
    stitcher.work(delivery(settings.kafka, ORDERS[::-1] if backwards else ORDERS))
    assert conversions(stitcher) == GOOD, "only what fails is set aside"
    letters = parked(stitcher)
    assert letters.select("step", "error_class").unique().rows() == [("audit", "parked")]
    found = {}
    for reason, reference in letters.select("reason", "payload_ref").iter_rows():
        raw, where = reference.removesuffix(")").split(" (")
        file = Bus(settings.home).raw_zone / raw.removeprefix("raw/")
        assert file.stat().st_mode & 0o777 == 0o600
        payload = json.loads(file.read_bytes())
        found[payload["event_id"]] = payload["amount_micros"]
        assert where == f"parked touchpoint {payload['event_id']}"
        assert reason.startswith(where)
        assert "money: No amount is negative." in reason
    assert found == {"b1": LARGE, "b2": LARGE}
    at = Partition(fact_topic(settings.kafka, "touchpoint"), 0)
    assert stitcher.places.store.offsets() == {tuple(at): 1_000 + len(ORDERS)}
    # Once more, in the other order: nothing is parked twice.
    stitcher.work(delivery(settings.kafka, ORDERS if backwards else ORDERS[::-1]))
    assert parked(stitcher).equals(letters)


def test_a_search_that_is_told_to_stop_leaves_everything_to_the_next_start(
    settings: StitchStreamSettings,
) -> None:
    stitcher = stitcher_of(settings)
    stitcher.work(delivery(settings.kafka, nearly_too_much("b"), 0))
    before = stitcher.places.store.offsets()
    STOPPING.set()
    stitcher.work(delivery(settings.kafka, ORDERS))
    assert stitcher.places.store.offsets() == before
    assert conversions(stitcher) == []
    STOPPING.clear()
    stitcher.work(delivery(settings.kafka, ORDERS))
    assert conversions(stitcher) == GOOD
    assert parked(stitcher).height == 2


def test_after_too_many_failures_failing_parts_are_parked_as_they_are(
    settings: StitchStreamSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_stitch, "MOST_FAILURES", 3)
    attempts = []
    stitcher = stitcher_of(settings)
    stitcher.work(delivery(settings.kafka, nearly_too_much("".join(CURRENCIES)), 0))
    whole = stitcher._publish_whole

    def counted(*arguments: object) -> None:
        attempts.append(arguments)
        whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stitcher, "_publish_whole", counted)
    bad = [order(f"{name}{number}", LARGE) for name in "klmnopqr" for number in range(2)]
    stitcher.work(delivery(settings.kafka, [*ORDERS, *bad]))
    assert len(attempts) <= 1 + 2 * 3 + 1
    kept = conversions(stitcher)
    assert len(kept) + parked(stitcher).height == len(ORDERS) + len(bad)
    assert not {name[0] for name in kept} & set("bklmnopqr")


def test_groups_are_the_same_for_the_same_facts() -> None:
    vocabulary = load_vocabulary()
    touches = [order("x3", LARGE), order("e1"), order("x2", LARGE), order("e1")]
    expected = [{"e1"}, {"x2", "x3"}]
    for several in (touches, touches[::-1]):
        groups = group_facts({"touchpoint": facts("touchpoint", *several)}, vocabulary)
        parts = [groups.part(number, number + 1)["touchpoint"] for number in range(groups.count)]
        assert [set(part["event_id"]) for part in parts] == expected
        assert sum(part.height for part in parts) == len(touches)
    assert group_facts({"touchpoint": facts("touchpoint")}, vocabulary).count == 0
    assert replace(groups, count=0).part(0, 0)["touchpoint"].is_empty()
