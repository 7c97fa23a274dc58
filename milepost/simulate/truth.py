"""The truth behind the records: whose each identifier is, and what the records can show of it."""

from __future__ import annotations

import numpy as np
import polars as pl

from milepost.simulate.naming import NAMES
from milepost.simulate.world import Integers

BLOCKED_COOKIE = "(not set)"


def identifiers_seen(named: pl.DataFrame, matched: pl.DataFrame) -> pl.DataFrame:
    """Give the truth about every identifier that a record names.

    Args:
        named: happenings with `person` and one text column for each of `NAMES`.
        matched: right matches: `person`, `contact_id`, `user_id`.

    Returns:
        `namespace`, `value`, `true_customer` (integer; the smallest of several), `shared_device` (boolean: several
        people used it, be it a cookie, a mailbox or a telephone), `evidence_group` (integer), one row per identifier,
        sorted by namespace and value.
    """
    records = pl.concat(
        [
            named.select("person", *NAMES),
            matched.select("person", crm_contact="contact_id", user="user_id"),
        ],
        how="diagonal",
    )
    records = records.unique(maintain_order=True)
    known = pl.concat(
        [
            records.filter(pl.col(name).is_not_null() & (pl.col(name) != BLOCKED_COOKIE))
            .group_by(pl.lit(name).alias("namespace"), pl.col(name).alias("value"))
            .agg(
                pl.col("person").min().alias("true_customer"),
                (pl.col("person").n_unique() > 1).alias("shared_device"),
            )
            for name in NAMES
        ]
    ).sort("namespace", "value")
    known = known.with_columns(pl.int_range(pl.len()).alias("code"))
    own = known.filter(~pl.col("shared_device"))
    codes = records.select(
        own.filter(pl.col("namespace") == name)
        .select("value", "code")
        .pipe(_look_up, records[name])
        .alias(name)
        for name in NAMES
    )
    # A record connects the first of the identifiers that it names with each of the others.
    first = codes.select(pl.coalesce(NAMES)).to_series()
    edges = (
        pl.concat([pl.DataFrame({"a": first, "b": codes[name]}) for name in NAMES])
        .filter(pl.col("b").is_not_null() & (pl.col("a") != pl.col("b")))
        .unique()
    )
    groups = components(known.height, edges["a"].to_numpy(), edges["b"].to_numpy())
    return known.drop("code").with_columns(pl.Series("evidence_group", groups))


def _look_up(table: pl.DataFrame, values: pl.Series) -> pl.Series:
    """Give the code of each value (null where it has none), in the order of the values."""
    asked = values.rename("value").to_frame()
    return asked.join(table, on="value", how="left", maintain_order="left")["code"]


def components(count: int, a: Integers, b: Integers) -> Integers:
    """Give the smallest member of each of `count` nodes' connected component, over the edges a to b."""
    label = np.arange(count, dtype=np.int64)
    while True:
        smallest = np.minimum(label[a], label[b])
        following = label.copy()
        np.minimum.at(following, a, smallest)
        np.minimum.at(following, b, smallest)
        following = following[following]
        if np.array_equal(following, label):
            return label
        label = following
