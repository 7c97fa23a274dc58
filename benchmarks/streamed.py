"""A stream to measure: a project with one source, a home that holds facts already, and new events for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.events import DEFAULT_SEED, FIRST_NEW_EVENT, EventFiles
from benchmarks.journeys import DUPLICATE_SHARE, draw_journeys
from benchmarks.render import render
from connectors.kafka.producer import Producer
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import fact_topic, raw_topic
from connectors.kafka.wire import encode_messages
from connectors.registry import Ingested, append_entries

SOURCE = "shop"
_PROJECT = """\
sources:
  {source}: {{stream: json, mapping: {source}.sql}}
stream: {{batch_facts: {batch}, batch_records: {batch}, term_seconds: {term}}}
"""
_MAPPING = """\
SELECT kind, channel, CAST(occurred_at AS TIMESTAMPTZ) AS occurred_at,
    from_json(cookies, '["VARCHAR"]') AS cookie, device, email, login AS "user",
    opportunity, opportunity_stage, subscription, refunded AS conversion_native_id, campaign, content, owner, reason,
    CAST(amount AS DECIMAL(18, 6)) AS amount, currency, from_json(products, '["VARCHAR"]') AS products,
    CAST(score AS BIGINT) AS score_percent, id AS native_id
FROM raw
"""
_DAY = 86_400 * 1_000_000


def write_project(folder: Path, batch: int, term: float) -> None:
    """Write the project: `batch` facts or records are worked on at once, and a pipeline lasts `term` seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    text = _PROJECT.format(source=SOURCE, batch=batch, term=term)
    (folder / "milepost.yaml").write_text(text, encoding="utf-8")
    (folder / f"{SOURCE}.sql").write_text(_MAPPING, encoding="utf-8")


def put_on_bus(events: EventFiles, home: Path) -> None:
    """Put the events on the bus of a home, as if files had brought them; nothing is copied."""
    folder = home / "bus" / "touchpoint"
    if folder.exists():
        return
    folder.mkdir(parents=True, mode=0o700)
    names = []
    for path in sorted(events.bus.glob("*.avro")):
        (folder / path.name).symlink_to(path)
        names.append(path.name)
    entry = Ingested(SOURCE, "0" * 64, "benchmark", "benchmark", files={"touchpoint": names})
    append_entries(home / "bus", [entry])


def new_facts(events: EventFiles, count: int, turn: int) -> pl.DataFrame:
    """Draw touchpoints that a home with `events` has not seen, in random order.

    Half are of customers that it knows, half of new ones, eight events each; one in twenty comes twice.

    Args:
        events: what the home holds.
        count: how many deliveries.
        turn: of another number other events are drawn.
    """
    rng = np.random.default_rng((turn, count))
    of_known = count // 2
    unique = of_known - int(of_known * DUPLICATE_SHARE)
    held = draw_journeys(events.events, DEFAULT_SEED)
    some = held.take(rng.choice(events.events, size=unique, replace=unique > events.events))
    later = dataclasses.replace(
        some,
        event=FIRST_NEW_EVENT * (1 + turn) + np.arange(unique),
        occurred_at=some.occurred_at + rng.integers(0, 30 * _DAY, unique),
    )
    twice = np.concatenate([np.arange(unique), rng.choice(unique, of_known - unique, replace=False)])
    others = draw_journeys(count - of_known, DEFAULT_SEED + 1 + turn)
    facts = pl.concat([render(later.take(twice), DEFAULT_SEED), render(others, DEFAULT_SEED + 1 + turn)])
    return facts[rng.permutation(count)]


def raw_records(facts: pl.DataFrame) -> list[bytes]:
    """Write touchpoints as a shop would send them: JSON objects, e-mail addresses in clear text."""

    def of(namespace: str) -> pl.Expr:
        matching = pl.element().filter(pl.element().str.starts_with(f"{namespace}:"))
        return pl.col("identifiers").list.eval(matching.str.strip_prefix(f"{namespace}:"))

    record = pl.struct(
        id="event_id",
        kind=pl.col("kind").cast(pl.String),
        channel=pl.col("channel").cast(pl.String),
        occurred_at=pl.col("occurred_at").dt.to_string("iso:strict"),
        cookies=of("cookie"),
        device=of("device").list.first(),
        email=of("email").list.first() + "@example.com",
        login=of("user").list.first(),
        opportunity="opportunity_id",
        opportunity_stage="opportunity_stage",
        subscription="subscription_id",
        refunded="conversion_id",
        campaign="campaign_id",
        content="content",
        owner="owner",
        reason="reason",
        amount=pl.col("amount_micros") / 1e6,
        currency="currency",
        products="products",
        score="score_percent",
    )
    texts = facts.select(record.struct.json_encode()).to_series()
    return [text.encode() for text in texts.to_list()]


def send_facts(kafka: KafkaSettings, facts: pl.DataFrame, mapping_version: str) -> None:
    """Put touchpoints on their topic, as ingest with this mapping would have."""
    said = facts.with_columns(mapping_version=pl.lit(mapping_version))
    with Producer(kafka) as producer:
        for part in said.iter_slices(20_000):
            keys = [event_id.encode() for event_id in part.get_column("event_id")]
            producer.send_many(fact_topic(kafka, "touchpoint"), keys, encode_messages("touchpoint", part))
        producer.flush()


def send_records(kafka: KafkaSettings, facts: pl.DataFrame) -> None:
    """Put touchpoints on the topic of raw records."""
    with Producer(kafka) as producer:
        for part in facts.iter_slices(20_000):
            producer.send_many(raw_topic(kafka, SOURCE), None, raw_records(part))
        producer.flush()
