"""Removing evidence: retractions, erasures, and what a withdrawn consent stops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from milepost.identity import find_shared, join_all, resolve
from milepost.links import (
    NO_IDENTIFIER,
    Identifiers,
    TouchIdentifiers,
    code_identifiers,
    find_links,
    named_identifiers,
    usable_identifiers,
)
from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary

Facts = Mapping[str, pl.DataFrame]

#: What a retraction's target_event_id may name.
RETRACTABLE = ("touchpoint", "spend", "exposure", "identity_link")

NO_PAIRS = pl.DataFrame(schema={"a": pl.String, "b": pl.String})


@dataclass(frozen=True)
class Retracted:
    """Facts without what was retracted, the pairs kept apart, and table `retractions`."""

    facts: dict[str, pl.DataFrame]
    unlinked: pl.DataFrame
    retractions: pl.DataFrame


def _pair(a: str, b: str) -> list[pl.Expr]:
    return [pl.min_horizontal(a, b).alias("low"), pl.max_horizontal(a, b).alias("high")]


def retract(facts: Facts) -> Retracted:
    """Take out what retractions name.

    Args:
        facts: standing facts by type, with the columns of their contracts.
    """
    retractions = facts["retraction"]
    table = load_tables()["retractions"]
    if not retractions.height:
        return Retracted(dict(facts), NO_PAIRS, table.empty())
    targets = retractions.get_column("target_event_id").drop_nulls().implode()
    kept = {
        name: frame.filter(~pl.col("event_id").is_in(targets)) if name in RETRACTABLE else frame
        for name, frame in facts.items()
    }
    confirmed = _confirmations(kept["identity_link"])
    judged = retractions.with_columns(*_pair("link_a", "link_b")).join(
        confirmed, on=["low", "high"], how="left", maintain_order="left"
    )
    names = {
        name: pl.col("target_event_id").is_in(facts[name].get_column("event_id").implode()) for name in facts
    }
    # A withdrawal of consent that asks for erasure is one.
    asking = requests(facts).get_column("event_id").implode()
    names_erasure = pl.col("target_event_id").is_in(asking)
    by_pair = pl.col("target_event_id").is_null()
    judged = judged.with_columns(
        pl.when(by_pair & (pl.col("seen_at") > pl.col("retracted_at")).fill_null(value=False))
        .then(pl.lit("outweighed"))
        .when(by_pair | pl.any_horizontal(*[names[name] for name in RETRACTABLE]))
        .then(pl.lit("applied"))
        .when(names["retraction"] | names_erasure)
        .then(pl.lit("rejected"))
        .otherwise(pl.lit("waiting"))
        .alias("status"),
        names_erasure.alias("names_erasure"),
    )
    unlinked = judged.filter(by_pair & (pl.col("status") == "applied")).select(
        pl.col("link_a").alias("a"), pl.col("link_b").alias("b")
    )
    kept["identity_link"] = _without_pairs(kept["identity_link"], unlinked)
    rejected_for = (
        pl.when("names_erasure").then(pl.lit("names_erasure")).otherwise(pl.lit("names_retraction"))
    )
    rows = judged.with_columns(
        pl.when(pl.col("status") == "rejected").then(rejected_for).otherwise("reason").alias("reason")
    ).select(list(table.polars_schema))
    return Retracted(kept, unlinked, rows)


def judge_again(retracted: Retracted, facts: Facts) -> Retracted:
    """Apply retractions of links whose confirmation was erased since: it is as if it had never been.

    Args:
        retracted: the result of `retract`.
        facts: what erasures left of its facts.
    """
    outweighed = pl.col("status") == "outweighed"
    confirmed = _confirmations(facts["identity_link"])
    judged = retracted.retractions.with_columns(*_pair("link_a", "link_b")).join(
        confirmed, on=["low", "high"], how="left", maintain_order="left"
    )
    still = (pl.col("seen_at") > pl.col("retracted_at")).fill_null(value=False)
    applied = judged.filter(outweighed & ~still)
    if not applied.height:
        return Retracted(dict(facts), retracted.unlinked, retracted.retractions)
    unlinked = pl.concat(
        [retracted.unlinked, applied.select(pl.col("link_a").alias("a"), pl.col("link_b").alias("b"))]
    )
    status = pl.when(outweighed & ~still).then(pl.lit("applied")).otherwise("status").alias("status")
    rows = judged.with_columns(status).select(retracted.retractions.columns)
    links = _without_pairs(facts["identity_link"], unlinked)
    return Retracted({**facts, "identity_link": links}, unlinked, rows)


def _confirmations(link_facts: pl.DataFrame) -> pl.DataFrame:
    """Give when each pair was last confirmed: `low`, `high`, `seen_at`."""
    return link_facts.filter("confirmed").select(*_pair("a", "b"), "seen_at").group_by("low", "high").max()


def _without_pairs(link_facts: pl.DataFrame, unlinked: pl.DataFrame) -> pl.DataFrame:
    return (
        link_facts.with_columns(*_pair("a", "b"))
        .join(unlinked.select(*_pair("a", "b")), on=["low", "high"], how="anti", maintain_order="left")
        .drop("low", "high")
    )


@dataclass(frozen=True)
class Erased:
    """Facts without what erasures cover, table `erasures`, and the event_ids erased by type of fact."""

    facts: dict[str, pl.DataFrame]
    erasures: pl.DataFrame
    event_ids: dict[str, pl.Series]


def requests(facts: Facts) -> pl.DataFrame:
    """Give everything that asks for erasure: `event_id`, `fact` (its type), `identifier`, `erased_at`, `source`."""
    withdrawals = facts["consent"].filter(~pl.col("granted") & pl.col("means_erasure"))
    asked = {
        "erasure": facts["erasure"],
        "consent": withdrawals.with_columns(pl.col("decided_at").alias("erased_at")),
    }
    return pl.concat(
        [
            frame.select("event_id", pl.lit(fact).alias("fact"), "identifier", "erased_at", "source")
            for fact, frame in asked.items()
        ]
    )


def erase(facts: Facts, unlinked: pl.DataFrame, vocabulary: Vocabulary) -> Erased:
    """Take out what erasures cover, all of them evaluated on one graph of links, before any erasure.

    Args:
        facts: standing, unretracted facts by type.
        unlinked: pairs of identifiers that a retraction keeps apart.
        vocabulary: ranks and protects identifiers.
    """
    asked = requests(facts)
    if not asked.height:
        return Erased(dict(facts), load_tables()["erasures"].empty(), {})
    touchpoints, link_facts = facts["touchpoint"], facts["identity_link"]
    evidence = _Evidence(touchpoints, link_facts, unlinked, asked.get_column("identifier"), vocabulary)
    judged, forgotten = _judge(asked, evidence)
    return _without(facts, forgotten, evidence, judged)


class _Evidence:
    """The graph of all links before any erasure, cut into clusters so that an erasure looks at one only."""

    def __init__(
        self,
        touchpoints: pl.DataFrame,
        link_facts: pl.DataFrame,
        unlinked: pl.DataFrame,
        asked: pl.Series,
        vocabulary: Vocabulary,
    ) -> None:
        self.vocabulary = vocabulary
        self.unlinked = unlinked
        identifiers, touch_identifiers = _identifiers_of(touchpoints, link_facts, asked, vocabulary)
        self.identifiers = identifiers
        self.owners = touch_identifiers.owners
        links, _ = find_links(touchpoints, link_facts, identifiers, touch_identifiers, vocabulary, unlinked)
        self.cluster = join_all(len(identifiers.rank), links.a, links.b)
        ends = identifiers.codes(link_facts.get_column("a"))
        self._touchpoints = touchpoints.select("event_id", "occurred_at", "identifiers").with_columns(
            pl.Series("cluster", np.where(self.owners < 0, -1, self.cluster[self.owners]))
        )
        self._links = link_facts.select("event_id", "a", "b", "seen_at").with_columns(
            pl.Series("cluster", self.cluster[ends] if len(ends) else ends)
        )

    def customers_at(self, asked: pl.DataFrame) -> list[pl.Series | None]:
        """Give the identifiers (String) of each customer asked for, None where the identifier was shared then.

        Args:
            asked: `identifier`, `erased_at`; no identifier is blocked.
        """
        clusters = self.cluster[self.identifiers.codes(asked.get_column("identifier"))]
        wanted = pl.Series(np.unique(clusters)).implode()
        touchpoints = _by_cluster(self._touchpoints.filter(pl.col("cluster").is_in(wanted)))
        links = _by_cluster(self._links.filter(pl.col("cluster").is_in(wanted)))
        nothing = self._touchpoints.clear(), self._links.clear()
        return [
            self._customer_at(
                identifier, time, touchpoints.get(cluster, nothing[0]), links.get(cluster, nothing[1])
            )
            for (identifier, time), cluster in zip(
                asked.select("identifier", "erased_at").iter_rows(), clusters.tolist(), strict=True
            )
        ]

    def _customer_at(
        self, identifier: str, time: datetime, touchpoints: pl.DataFrame, link_facts: pl.DataFrame
    ) -> pl.Series | None:
        """Find a customer in the evidence of its cluster up to a time."""
        touchpoints = touchpoints.filter(pl.col("occurred_at") <= time)
        link_facts = link_facts.filter(pl.col("seen_at") <= time)
        identifiers, used = _identifiers_of(touchpoints, link_facts, pl.Series([identifier]), self.vocabulary)
        links, _ = find_links(touchpoints, link_facts, identifiers, used, self.vocabulary, self.unlinked)
        shared = find_shared(identifiers, links, self.vocabulary)
        code = int(identifiers.codes(pl.Series([identifier]))[0])
        if shared[code]:
            return None
        identity = resolve(identifiers, links, shared, self.vocabulary)
        return identifiers.names.gather(np.flatnonzero(identity.best == identity.best[code]))


def _identifiers_of(
    touchpoints: pl.DataFrame, link_facts: pl.DataFrame, more: pl.Series, vocabulary: Vocabulary
) -> tuple[Identifiers, TouchIdentifiers]:
    """Code what touchpoints, link facts and `more` (String) name; give the touchpoints' usable identifiers too."""
    lists = touchpoints.get_column("identifiers")
    touched = named_identifiers(lists)
    names = [touched, link_facts.get_column("a"), link_facts.get_column("b"), more]
    identifiers, codes = code_identifiers(pl.concat(names), vocabulary)
    return identifiers, usable_identifiers(identifiers, lists, codes[: len(touched)])


def _by_cluster(frame: pl.DataFrame) -> dict[int, pl.DataFrame]:
    return {int(cluster): part for (cluster,), part in frame.partition_by("cluster", as_dict=True).items()}


def _judge(asked: pl.DataFrame, evidence: _Evidence) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give table `erasures`, and what is forgotten: `identifier` (String), `until` (the latest time)."""
    blocked = evidence.identifiers.blocked[evidence.identifiers.codes(asked.get_column("identifier"))]
    asked = asked.with_columns(
        pl.when(pl.Series(blocked)).then(pl.lit("blocked")).otherwise(pl.lit(None, pl.String)).alias("reason")
    ).sort("reason", nulls_last=False)
    answered = asked.filter(pl.col("reason").is_null())
    customers = evidence.customers_at(answered)
    shared = [customer is None for customer in customers]
    reason = asked.get_column("reason").scatter(np.flatnonzero(shared), "shared")
    rejected = pl.when(reason.is_null()).then(pl.lit("applied")).otherwise(pl.lit("rejected"))
    forgotten = [
        pl.DataFrame({"identifier": customer}).with_columns(
            pl.lit(time, pl.Datetime("us", "UTC")).alias("until")
        )
        for customer, time in zip(customers, answered.get_column("erased_at"), strict=True)
        if customer is not None
    ]
    table = load_tables()["erasures"]
    judged = asked.with_columns(reason, rejected.alias("status")).select(list(table.polars_schema))
    nobody = pl.DataFrame(schema={"identifier": pl.String, "until": pl.Datetime("us", "UTC")})
    return judged, pl.concat([nobody, *forgotten]).group_by("identifier").agg(pl.col("until").max())


def _covered(frame: pl.DataFrame, identifier: str, time: str, forgotten: pl.DataFrame) -> pl.Series:
    """Say of each row whether its identifier was forgotten at its time."""
    until = frame.select(pl.col(identifier).alias("identifier"), pl.col(time).alias("time")).join(
        forgotten, on="identifier", how="left", maintain_order="left"
    )
    return until.select((pl.col("time") <= pl.col("until")).fill_null(value=False)).to_series()


def _without(facts: Facts, forgotten: pl.DataFrame, evidence: _Evidence, judged: pl.DataFrame) -> Erased:
    touchpoints, link_facts = facts["touchpoint"], facts["identity_link"]
    owners = pl.Series(evidence.owners)
    owner_names = evidence.identifiers.names.gather(owners.set(owners == NO_IDENTIFIER, 0))
    owned = touchpoints.select("occurred_at", owner_names.set(owners == NO_IDENTIFIER, None).alias("owner"))
    is_customers = pl.col("subject_type") == "customer"
    gone = {
        "touchpoint": _covered(owned, "owner", "occurred_at", forgotten),
        "identity_link": _covered(link_facts, "a", "seen_at", forgotten)
        | _covered(link_facts, "b", "seen_at", forgotten),
        "profile": _covered(facts["profile"], "subject_id", "valid_from", forgotten)
        & facts["profile"].select(is_customers).to_series(),
        "consent": _covered(facts["consent"], "identifier", "decided_at", forgotten),
    }
    kept = {name: frame.filter(~gone[name]) if name in gone else frame for name, frame in facts.items()}
    kept["touchpoint"] = _stripped(kept["touchpoint"], forgotten)
    event_ids = {name: facts[name].get_column("event_id").filter(mask) for name, mask in gone.items()}
    return Erased(kept, judged, event_ids)


def _stripped(touchpoints: pl.DataFrame, forgotten: pl.DataFrame) -> pl.DataFrame:
    """Take forgotten identifiers off other people's touchpoints."""
    names_one = (
        pl.col("identifiers")
        .list.eval(pl.element().is_in(forgotten.get_column("identifier").implode()))
        .list.any()
    )
    affected = touchpoints.with_row_index("row").filter(names_one.fill_null(value=False))
    if not affected.height:
        return touchpoints
    entries = affected.select("row", "occurred_at", "identifiers").explode("identifiers")
    kept = entries.filter(~_covered(entries, "identifiers", "occurred_at", forgotten))
    lists = kept.group_by("row", maintain_order=True).agg("identifiers")
    stripped = (
        affected.drop("identifiers")
        .join(lists, on="row", how="left", maintain_order="left")
        .with_columns(pl.col("identifiers").fill_null([]))
        .drop("row")
        .select(touchpoints.columns)
    )
    return pl.concat([touchpoints.filter(~names_one.fill_null(value=False)), stripped])


def withdrawn(consents: pl.DataFrame, touchpoints: pl.DataFrame, purpose: str) -> pl.Series:
    """Say of each touchpoint whether its customer had withdrawn the consent to its use.

    Args:
        consents: `customer_id`, `purpose`, `granted`, `decided_at`, `event_id`.
        touchpoints: `customer_id`, `occurred_at`.
        purpose: the purpose that using touchpoints needs.

    Returns:
        Boolean, a row a touchpoint.
    """
    decisions = consents.filter((pl.col("purpose") == purpose) & pl.col("customer_id").is_not_null())
    if not decisions.height:
        return pl.Series([False], dtype=pl.Boolean).new_from_index(0, touchpoints.height)
    last = decisions.sort("decided_at", "granted", "event_id", descending=[False, True, False]).unique(
        ["customer_id", "decided_at"], keep="last", maintain_order=True
    )
    asked = touchpoints.select("customer_id", "occurred_at").with_row_index("row")
    found = (
        asked.filter(pl.col("customer_id").is_in(last.get_column("customer_id").implode()))
        .sort("occurred_at")
        .join_asof(
            last.sort("decided_at"),
            left_on="occurred_at",
            right_on="decided_at",
            by="customer_id",
            strategy="backward",
            check_sortedness=False,
        )
        .filter(pl.col("granted").eq(other=False))
    )
    mask = np.zeros(touchpoints.height, dtype=np.bool_)
    mask[found.get_column("row").to_numpy()] = True
    return pl.Series(mask)
