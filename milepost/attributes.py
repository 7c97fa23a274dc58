"""Attributes: the tables that show facts with their customer: identities, profiles, campaigns, consents."""

from __future__ import annotations

import numpy as np
import polars as pl

from milepost.identity import Identity, customer_ids
from milepost.links import Identifiers
from schemas.tables import load_tables

#: Values of the attribute `key_contact` that say no.
_NOT_A_KEY_CONTACT = ("", "0", "false", "no")


def customer_of(identifiers: Identifiers, identity: Identity) -> pl.Series:
    """Give each identifier code's customer_id (String)."""
    best = np.unique(identity.best)
    ids = customer_ids(identifiers.names.gather(best))
    place = np.zeros(len(identity.best), dtype=np.int64)
    place[best] = np.arange(len(best))
    return ids.gather(place[identity.best]).alias("customer_id")


def identities(
    identifiers: Identifiers, identity: Identity, customer_id: pl.Series, sightings: pl.DataFrame
) -> pl.DataFrame:
    """Give table `identities`.

    Args:
        identifiers: all that facts name.
        identity: their customers.
        customer_id: of each code.
        sightings: `code` (Int32), `seen_at`: the times at which facts name each unblocked identifier.
    """
    seen = (
        sightings.group_by("code")
        .agg(pl.col("seen_at").min().alias("first_seen_at"), pl.col("seen_at").max().alias("last_seen_at"))
        .sort("code")
    )
    codes = seen.get_column("code")
    names = identifiers.names.gather(codes)
    # The value may hold colons itself: it is what follows the first one.
    parts = names.str.splitn(":", 2).struct
    return pl.DataFrame(
        [
            parts.field("field_0").alias("namespace"),
            parts.field("field_1").zip_with(parts.field("field_1").is_not_null(), names).alias("value"),
            customer_id.gather(codes),
            seen.get_column("first_seen_at"),
            seen.get_column("last_seen_at"),
            pl.Series("shared", identity.shared[codes.to_numpy()]),
        ]
    )


def aliases(
    identifiers: Identifiers, identity: Identity, customer_id: pl.Series, seen: pl.Series
) -> pl.DataFrame:
    """Give table `customer_aliases`; `seen` holds the codes that facts name and the blocklist does not block."""
    codes = seen.to_numpy()
    others = codes[identity.best[codes] != codes]
    return pl.DataFrame(
        [
            customer_ids(identifiers.names.gather(others)).alias("old_customer_id"),
            customer_id.gather(others),
        ]
    )


def profiles(facts: pl.DataFrame, identifiers: Identifiers, customer_id: pl.Series) -> pl.DataFrame:
    """Give table `profiles`: of several facts at one time the greatest revision, then the smallest event_id."""
    table = load_tables()["profiles"]
    of_customer = pl.col("subject_type").cast(pl.String) == "customer"
    codes = identifiers.codes(
        facts.select(pl.when(of_customer).then("subject_id").alias("identifier")).to_series()
    )
    known = codes >= 0
    usable = ~known
    usable[known] = ~identifiers.blocked[codes[known]]
    ids = (
        customer_id.gather(np.where(known, codes, 0))
        if len(customer_id)
        else pl.Series([None] * len(codes), dtype=pl.String)
    )
    rows = facts.with_columns(
        pl.col("subject_type").cast(pl.String),
        pl.when(of_customer).then(pl.col("subject_id")).otherwise(pl.lit("")).alias("identifier"),
        pl.when(of_customer).then(ids).otherwise(pl.col("subject_id")).alias("subject_id"),
    ).filter(pl.Series(usable, dtype=pl.Boolean))
    return (
        rows.sort("revision", "event_id", descending=[True, False])
        .unique(list(table.key), keep="first", maintain_order=True)
        .select(list(table.polars_schema))
    )


def campaigns(facts: pl.DataFrame) -> pl.DataFrame:
    """Give table `campaigns`: of several facts on a campaign the greatest revision, then the smallest event_id."""
    table = load_tables()["campaigns"]
    return (
        facts.sort("revision", "event_id", descending=[True, False])
        .unique("campaign_id", keep="first", maintain_order=True)
        .select(list(table.polars_schema))
    )


def consents(facts: pl.DataFrame, identifiers: Identifiers, customer_id: pl.Series) -> pl.DataFrame:
    """Give table `consents`; a blocked identifier has no customer."""
    codes = identifiers.codes(facts.get_column("identifier"))
    blocked = identifiers.blocked[codes] if len(codes) else np.zeros(0, dtype=np.bool_)
    ids = customer_id.gather(codes).set(pl.Series(blocked, dtype=pl.Boolean), None)
    return facts.with_columns(ids.alias("customer_id")).select(list(load_tables()["consents"].polars_schema))


def key_contacts(profile_rows: pl.DataFrame, customer_accounts: pl.DataFrame) -> pl.DataFrame:
    """Give each account's key contacts: `account_id`, `key_contacts` (List(String), sorted).

    Args:
        profile_rows: table `profiles`.
        customer_accounts: `customer_id`, `account_id`.
    """
    last = (
        profile_rows.filter((pl.col("subject_type") == "customer") & (pl.col("attribute") == "key_contact"))
        .sort("valid_from", "event_id", descending=[False, True])
        .unique("subject_id", keep="last", maintain_order=True)
        .filter(pl.col("value").is_not_null() & ~pl.col("value").str.to_lowercase().is_in(_NOT_A_KEY_CONTACT))
    )
    return (
        last.join(customer_accounts, left_on="subject_id", right_on="customer_id")
        .group_by("account_id")
        .agg(pl.col("subject_id").sort().alias("key_contacts"))
    )
