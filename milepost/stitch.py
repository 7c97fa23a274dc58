"""Stitch: from facts to the tables of the warehouse. The functions here are the diagram of the heart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from milepost import attributes
from milepost.attribution import count_paths, credit_conversions, find_paths
from milepost.conversions import Booked, book, grows
from milepost.erasure import erase, judge_again, retract, withdrawn
from milepost.facts import stand
from milepost.handovers import hand_over, step_of
from milepost.identity import Identity, find_shared, link_rows, resolve
from milepost.links import Identifiers, code_identifiers, find_links, named_identifiers, usable_identifiers
from milepost.money import money, summarise_money
from milepost.opportunities import opportunities
from milepost.path_models import PATH_COUNTS, channel_credits
from milepost.rules import PATH_MODELS, Rules
from milepost.spend import share_spend, spend_table
from milepost.stages import as_touches, fold, fold_columns, stage_entries, status
from milepost.timeline import TOLD, build_timeline, last_accounts, with_words
from milepost.words import Words, fitted, words_of
from schemas.contracts import FACT_TYPES, empty_facts
from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary

Facts = Mapping[str, pl.DataFrame]
Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class Evidence:
    """What facts still say after retractions and erasures, and the tables that name these.

    `erased` has the event_ids that erasures took, by type of fact.
    """

    facts: dict[str, pl.DataFrame]
    unlinked: pl.DataFrame
    tables: Tables
    erased: dict[str, pl.Series]


@dataclass(frozen=True, eq=False)
class Customers:
    """Which customer each identifier points at, and the tables that say so."""

    identifiers: Identifiers
    identity: Identity
    customer_id: pl.Series
    owners: npt.NDArray[np.int32]
    tables: Tables


@dataclass(frozen=True)
class Folded:
    """The tables that need nothing beyond the subjects at hand, and what the tables across subjects need.

    `path_counts` is as `milepost.path_models.PATH_COUNTS` says; `timeline` and `conversions` are in fold order.
    """

    tables: Tables
    timeline: pl.DataFrame
    conversions: pl.DataFrame
    path_counts: pl.DataFrame


def stitch(facts: Facts, vocabulary: Vocabulary, rules: Rules) -> Tables:
    """Turn facts into the base tables.

    Args:
        facts: by type of fact (types left out are empty), with the columns of the contracts; in any order, with
            any repeats.
        vocabulary: the words.
        rules: the settings.

    Returns:
        Every base table but those that say how it was made (`dead_letters`, `publications`, `clock`), with the
        columns and types of `schemas/tables.yaml`, sorted by key.
    """
    standing = {name: stand(facts.get(name, empty_facts(name))).facts for name in FACT_TYPES}
    evidence = weigh_evidence(standing, vocabulary)
    customers = identify(evidence, vocabulary)
    folded = fold_subjects(evidence, customers, vocabulary, rules)
    spend = evidence.facts["spend"]
    shares = share_spend(spend, folded.timeline, vocabulary)
    across = {
        "spend_shares": shares,
        "spend": spend_table(spend, shares, rules).table,
        "channel_credits": channel_credits(folded.path_counts, rules),
    }
    ledger = fold_ledger(folded, shares, vocabulary, rules)
    return as_tables({**evidence.tables, **customers.tables, **folded.tables, **ledger, **across})


def weigh_evidence(standing: Facts, vocabulary: Vocabulary) -> Evidence:
    """Take out what retractions and erasures remove."""
    retracted = retract(standing)
    erased = erase(retracted.facts, retracted.unlinked, vocabulary)
    left = judge_again(retracted, erased.facts)
    tables = {
        "retractions": left.retractions,
        "erasures": erased.erasures,
        "exposures": left.facts["exposure"],
        "campaigns": attributes.campaigns(left.facts["campaign"]),
    }
    return Evidence(left.facts, left.unlinked, tables, erased.event_ids)


def identify(evidence: Evidence, vocabulary: Vocabulary) -> Customers:
    """Find the customers.

    Args:
        evidence: the facts.
        vocabulary: ranks and protects identifiers.
    """
    facts = evidence.facts
    touchpoints, link_facts = facts["touchpoint"], facts["identity_link"]
    of_customers = facts["profile"].filter(pl.col("subject_type").cast(pl.String) == "customer")
    stated = [
        link_facts.select(pl.col("a").alias("name"), "seen_at"),
        link_facts.select(pl.col("b").alias("name"), "seen_at"),
        of_customers.select(pl.col("subject_id").alias("name"), pl.col("valid_from").alias("seen_at")),
        facts["consent"].select(pl.col("identifier").alias("name"), pl.col("decided_at").alias("seen_at")),
    ]
    lists = touchpoints.get_column("identifiers")
    touched = named_identifiers(lists)
    said = pl.concat(stated)
    identifiers, codes = code_identifiers(pl.concat([touched, said.get_column("name")]), vocabulary)
    used = usable_identifiers(identifiers, lists, codes[: len(touched)])
    links, blocked_links = find_links(
        touchpoints, link_facts, identifiers, used, vocabulary, evidence.unlinked
    )
    shared = find_shared(identifiers, links, vocabulary)
    identity = resolve(identifiers, links, shared, vocabulary)
    customer_id = attributes.customer_of(identifiers, identity)

    rows = np.repeat(np.arange(touchpoints.height), np.diff(used.starts))
    sightings = pl.concat(
        [
            pl.DataFrame({"code": used.codes, "seen_at": touchpoints.get_column("occurred_at").gather(rows)}),
            pl.DataFrame({"code": codes[len(touched) :], "seen_at": said.get_column("seen_at")}),
        ]
    )
    sightings = sightings.filter(~pl.Series(identifiers.blocked[sightings.get_column("code").to_numpy()]))
    identity_rows = attributes.identities(identifiers, identity, customer_id, sightings)
    tables = {
        "identities": identity_rows,
        "identity_links": pl.concat([link_rows(identifiers, links, identity, vocabulary), blocked_links]),
        "customer_aliases": attributes.aliases(
            identifiers, identity, customer_id, sightings.get_column("code").unique().sort()
        ),
        "profiles": attributes.profiles(facts["profile"], identifiers, customer_id),
        "consents": attributes.consents(facts["consent"], identifiers, customer_id),
    }
    return Customers(identifiers, identity, customer_id, used.owners, tables)


def _touchpoints_in_use(evidence: Evidence, customers: Customers, rules: Rules, words: Words) -> pl.DataFrame:
    """Give touchpoints their customer, and leave those out whose use a consent's withdrawal stops."""
    owners = pl.Series(customers.owners)
    owned = owners >= 0
    safe = np.maximum(customers.owners, 0)
    none = not len(customers.customer_id)
    touchpoints = with_words(evidence.facts["touchpoint"].select(TOLD), words).with_columns(
        pl.Series("customer", customers.identity.best[safe] if not none else safe, pl.Int32).set(~owned, -1),
        (
            customers.customer_id.gather(safe).set(~owned, None)
            if not none
            else pl.Series([None] * len(owners), dtype=pl.String)
        ).alias("customer_id"),
        pl.Series("shared", customers.identity.shared[safe] if not none else np.zeros(len(safe), bool))
        & owned,
    )
    decisions = customers.tables["consents"]
    if not decisions.height:
        return touchpoints
    return touchpoints.filter(~withdrawn(decisions, touchpoints, rules.consent_purpose))


def fold_subjects(evidence: Evidence, customers: Customers, vocabulary: Vocabulary, rules: Rules) -> Folded:
    """Fold touchpoints into journeys, conversions and credits."""
    words = words_of(vocabulary)
    timeline = build_timeline(_touchpoints_in_use(evidence, customers, rules, words), words)
    booked = book(timeline, words)
    paths = find_paths(booked.timeline, booked.conversions, rules, words)
    journeys, entries = fold_customers(booked, words)
    accounts = fold_accounts(booked, journeys, customers.tables["profiles"], words)
    tables = {
        "touchpoints": booked.timeline,
        "journeys": journeys,
        "accounts": accounts,
        "stage_entries": entries,
        "conversions": booked.conversions,
        "credits": credit_conversions(booked.timeline, booked.conversions, paths, rules, words),
        "unmatched_refunds": booked.unmatched_refunds,
    }
    # Only the models over all paths need the counts; a change of the models rebuilds.
    counted = set(PATH_MODELS) & set(rules.models)
    counts = (
        count_paths(booked.timeline, booked.conversions, paths, words)
        if counted
        else pl.DataFrame(schema=PATH_COUNTS)
    )
    return Folded(tables, booked.timeline, booked.conversions, counts)


def _dense(codes: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Number the codes that occur, -1 aside: give them in order, and each row's number."""
    present = np.zeros(int(codes.max(initial=-1)) + 1, dtype=np.bool_)
    present[codes[codes >= 0]] = True
    number = np.cumsum(present, dtype=np.int32) - 1
    dense = np.full(len(codes), -1, dtype=np.int32)
    dense[codes >= 0] = number[codes[codes >= 0]]
    return np.flatnonzero(present), dense


def fold_customers(booked: Booked, words: Words) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give tables `journeys` and `stage_entries`."""
    timeline = booked.timeline
    codes, dense = _dense(timeline.get_column("customer").to_numpy())
    growing = booked.conversions.with_columns(grows(booked.conversions, "customer", words).alias("grows"))
    touches = as_touches(timeline, pl.Series(dense), growing, words)
    folds = fold(touches, len(codes))
    # Any touchpoint of a customer names it: take the last one that was written to its place.
    row_of = np.zeros(len(codes), dtype=np.int64)
    row_of[dense[dense >= 0]] = np.flatnonzero(dense >= 0)
    journeys = timeline.select("customer_id", "customer", "shared")[row_of].hstack(
        [*fold_columns(folds, words).get_columns(), status(folds, touches, words)]
    )
    journeys = journeys.join(last_accounts(timeline), on="customer", how="left", maintain_order="left")
    return _with_money(journeys, booked.conversions, "customer_id"), stage_entries(folds, touches, words)


def fold_accounts(
    booked: Booked, journeys: pl.DataFrame, profiles: pl.DataFrame, words: Words
) -> pl.DataFrame:
    """Give table `accounts`; what shared customers did does not count in it."""
    timeline = booked.timeline
    codes, dense = _dense(timeline.get_column("account").to_numpy())
    if not len(codes):
        return load_tables()["accounts"].empty()
    row_of = np.zeros(len(codes), dtype=np.int64)
    row_of[dense[dense >= 0]] = np.flatnonzero(dense >= 0)
    counted = pl.Series(dense).set(timeline.get_column("shared"), -1)
    conversions = booked.conversions.filter(~pl.col("shared"))
    growing = conversions.with_columns(grows(conversions, "account", words).alias("grows"))
    touches = as_touches(timeline, counted, growing, words)
    folds = fold(touches, len(codes))
    members = journeys.filter(pl.col("account_id").is_not_null() & ~pl.col("shared"))
    accounts = (
        timeline.select("account_id")[row_of]
        .hstack([*fold_columns(folds, words).get_columns(), status(folds, touches, words)])
        .join(
            members.group_by("account_id").agg(pl.len().cast(pl.Int64).alias("customers")),
            on="account_id",
            how="left",
        )
        .join(attributes.key_contacts(profiles, members), on="account_id", how="left")
        .with_columns(pl.col("customers").fill_null(0), pl.col("key_contacts").fill_null([]))
    )
    return _with_money(accounts, conversions, "account_id")


def _with_money(subjects: pl.DataFrame, conversions: pl.DataFrame, key: str) -> pl.DataFrame:
    return subjects.join(
        summarise_money(conversions, key), on=key, how="left", maintain_order="left"
    ).with_columns(pl.col("currencies").fill_null(0))


def fold_ledger(folded: Folded, shares: pl.DataFrame, vocabulary: Vocabulary, rules: Rules) -> Tables:
    """Give the tables that need to know what touches had cost: `handovers`, `opportunities`, `money`.

    Args:
        folded: the subjects concerned, whole.
        shares: table `spend_shares`, with at least the shares of their touches.
        vocabulary: the words.
        rules: the settings.
    """
    ledger = hand_over(folded.timeline, shares, vocabulary, rules)
    return {
        "handovers": ledger.table,
        "opportunities": opportunities(folded.timeline, ledger.table, folded.conversions, vocabulary),
        "money": money(folded.conversions, ledger.costs),
    }


def ledger_part(folded: Folded, vocabulary: Vocabulary) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give what `fold_ledger` needs of a fold, beside what customers and accounts booked: timeline, conversions.

    That is every touch of a subject that a step of the ledger names, or that names an opportunity.
    """
    timeline = folded.timeline
    steps = timeline.filter(step_of(vocabulary).is_not_null())
    of_subjects = pl.col("subject").is_in(steps.get_column("subject").unique().implode()) & (
        pl.col("subject") >= 0
    )
    names_one = pl.col("opportunity_id").is_not_null()
    return timeline.filter(of_subjects | names_one), folded.conversions.filter(names_one)


def shaped(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Give a frame the columns and types that its table has; words may stay Enums."""
    return fitted(frame, load_tables()[name].polars_schema)


def as_tables(frames: Mapping[str, pl.DataFrame]) -> Tables:
    """Give frames the columns, types and order that their tables have."""
    tables = load_tables()
    return {
        name: shaped(name, frame).cast(tables[name].polars_schema).sort(list(tables[name].key))
        for name, frame in frames.items()
    }
