"""Facts from journeys: the strings, enums and lists of a touchpoint, a slice of numbers at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from benchmarks.journeys import CAMPAIGNS, CURRENCIES, PRODUCTS, SLOTS, Journeys
from schemas.contracts import frame_schema
from schemas.vocabulary import load_vocabulary

UintArray = npt.NDArray[np.uint64]
IntArray = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SOURCES = ("storefront", "crm", "adserver", "helpdesk")
_PAGES = tuple(
    f"/catalogue/{shelf}/item-{number:04d}" for shelf in ("a", "b", "c", "d") for number in range(125)
)
_PEOPLE = tuple(f"person-{number:02d}" for number in range(40))
_REASONS = ("price", "timing", "competitor", "no budget")
_OPPORTUNITY_STAGES = ("discovery", "evaluation", "commitment")
_MAPPING_VERSION = hashlib.sha256(b"benchmark").hexdigest()
_FILE = hashlib.sha256(b"export.csv").hexdigest()[:16]
_HEX = np.array([list(f"{byte:02x}".encode()) for byte in range(256)], dtype=np.uint8)


def _mix(numbers: IntArray, seed: int) -> UintArray:
    """Give well-spread 64-bit numbers (the finaliser of SplitMix64), the same for the same numbers and seed."""
    mixed = numbers.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % (1 << 64))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _hexadecimal(*words: UintArray) -> pl.Series:
    """Write 64-bit words as 16 hexadecimal digits each, one after the other."""
    big_endian = np.stack([word.astype(">u8") for word in words], axis=1)
    digits = _HEX[big_endian.view(np.uint8)].reshape(len(words[0]), -1)
    width = digits.shape[1]
    offsets = np.arange(len(digits) + 1, dtype=np.int64) * width
    text = pa.LargeStringArray.from_buffers(
        len(digits), pa.py_buffer(offsets), pa.py_buffer(digits.tobytes())
    )
    return pl.Series(pl.from_arrow(text))


def _event_ids(events: IntArray, seed: int) -> pl.Series:
    return _hexadecimal(_mix(events, 2 * seed), _mix(events, 2 * seed + 1))


def _words(words: Sequence[str], places: npt.NDArray[np.integer], mask: Mask | None = None) -> pl.Series:
    """Look words up by place; null where the mask is false."""
    series = pl.Series(words, dtype=pl.String).gather(pl.Series(places.astype(np.int64) % len(words)))
    if mask is None:
        return series
    return pl.select(pl.when(pl.Series(mask)).then(series)).to_series()


def _lists(length: int, rows: list[IntArray], texts: list[pl.Series]) -> pl.Series:
    """Gather texts into one list a row: `rows` says for each text the row that it belongs to."""
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    offsets = np.zeros(length + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=length), out=offsets[1:])
    values = pl.concat(texts).gather(pl.Series(order)).to_arrow().cast(pa.large_string())
    return pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(offsets), values)))


def _identifiers(journeys: Journeys, seed: int) -> pl.Series:
    rows, texts = [], []
    for slot, namespace in enumerate(SLOTS):
        row = np.flatnonzero(journeys.identifier_bits & (1 << slot))
        customer = journeys.customer[row] * len(SLOTS) + slot
        value = _mix(customer, seed + 1000)
        digits = (
            _hexadecimal(value, _mix(customer, seed + 2000)) if namespace == "email" else _hexadecimal(value)
        )
        rows.append(row)
        texts.append(namespace + ":" + digits)
    return _lists(len(journeys), rows, texts)


def _products(journeys: Journeys) -> pl.Series:
    rows = [np.flatnonzero(journeys.product_bits & (1 << product)) for product in range(PRODUCTS)]
    texts = [pl.repeat(f"P-{product:02d}", len(row), eager=True) for product, row in enumerate(rows)]
    return _lists(len(journeys), rows, texts)


def _times(microseconds: IntArray) -> pl.Series:
    return pl.Series(microseconds).cast(pl.Datetime("us", "UTC"))


def render(journeys: Journeys, seed: int) -> pl.DataFrame:
    """Write journeys as touchpoint facts: a frame with `frame_schema("touchpoint")`."""
    kinds = load_vocabulary().kinds
    names = list(kinds)
    kind, salt = journeys.kind, journeys.salt

    def is_kind(*wanted: str) -> Mask:
        return np.isin(kind, [names.index(name) for name in wanted])

    channel = _words([entry.channel for entry in kinds.values()], kind)
    amount = pl.Series(journeys.amount_micros)
    sales = np.isin(kind, [place for place, entry in enumerate(kinds.values()) if entry.team == "sales"])
    opportunity = is_kind("opportunity_created", "opportunity_stage_changed", "opportunity_lost")
    subscription = is_kind("subscription_started", "subscription_renewed", "subscription_cancelled")
    customer = pl.Series(journeys.customer).cast(pl.String)
    event_id = _event_ids(journeys.event, seed)
    number = pl.Series(journeys.event).cast(pl.String)
    frame = pl.DataFrame(
        {
            "event_id": event_id,
            "revision": np.zeros(len(journeys), dtype=np.int64),
            "source": _words(_SOURCES, kind),
            "kind": _words(names, kind),
            "channel": channel,
            "team": _words([entry.team for entry in kinds.values()], kind),
            "reach": _words([entry.reach for entry in kinds.values()], kind),
            "occurred_at": _times(journeys.occurred_at),
            "identifiers": _identifiers(journeys, seed),
            "opportunity_id": "OPP-" + customer,
            "subscription_id": "SUB-" + customer,
            "conversion_id": _event_ids(np.maximum(journeys.refunded_event, 0), seed),
            "campaign_id": _words([f"campaign-{place:03d}" for place in range(CAMPAIGNS)], journeys.campaign),
            "content": _words(_PAGES, salt),
            "owner": _words(_PEOPLE, salt, sales),
            "reason": _words(_REASONS, salt, is_kind("opportunity_lost", "subscription_cancelled")),
            "opportunity_stage": _words(_OPPORTUNITY_STAGES, salt, is_kind("opportunity_stage_changed")),
            "amount_micros": amount,
            "currency": _words(CURRENCIES, journeys.currency, journeys.amount_micros >= 0),
            "products": _products(journeys),
            "score_percent": pl.Series(salt % 101),
            "received_at": _times(journeys.received_at),
            "raw_ids": number,
        }
    ).with_columns(
        channel=pl.when(pl.Series(journeys.direct)).then(pl.lit("direct")).otherwise(pl.col("channel")),
        opportunity_id=pl.when(pl.Series(opportunity & (salt % 5 > 0))).then("opportunity_id"),
        subscription_id=pl.when(pl.Series(subscription & (salt % 3 > 0))).then("subscription_id"),
        conversion_id=pl.when(pl.Series(journeys.refunded_event >= 0)).then("conversion_id"),
        campaign_id=pl.when(pl.Series(journeys.campaign >= 0)).then("campaign_id"),
        content=pl.when(pl.col("team") == "marketing").then("content"),
        amount_micros=pl.when(pl.col("amount_micros") >= 0).then("amount_micros"),
        score_percent=pl.when(pl.Series(is_kind("satisfaction_score", "ticket_rated"))).then("score_percent"),
        raw_ids=pl.concat_list(pl.col("source") + ":" + _FILE + ":" + pl.col("raw_ids")),
        mapping_version=pl.lit(_MAPPING_VERSION),
        booking_number=pl.lit(0, pl.Int64),
    )
    schema = frame_schema("touchpoint")
    missing = [name for name in schema if name not in frame.columns]
    return frame.with_columns(pl.lit(None, schema[name]).alias(name) for name in missing).select(
        pl.col(name).cast(schema[name]) for name in schema
    )
