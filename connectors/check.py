"""The contract check: which facts may pass, and what is wrong with the others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from connectors.currencies import CURRENCIES
from schemas.contracts import enum_columns, frame_schema, required_columns
from schemas.vocabulary import Vocabulary

#: A larger amount (in micro-units: a hundred thousand million of a currency's unit) is a mistake.
LARGEST_AMOUNT = 10**17
#: A longer identifier or id, in bytes of UTF-8, is a mistake.
LONGEST_NAME = 512
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
#: How far a sender's clock may be ahead of ours.
CLOCKS_DIFFER = timedelta(days=1)

#: Times that must not lie in the future.
_PAST_TIMES = ("occurred_at", "seen_at", "decided_at", "erased_at", "retracted_at")
_NAMES = (
    "account_id",
    "opportunity_id",
    "deal_id",
    "subscription_id",
    "conversion_id",
    "campaign_id",
    "subject_id",
    "attribute",
    "purpose",
    "target_event_id",
)
_IDENTIFIERS = {
    "identity_link": ("a", "b"),
    "consent": ("identifier",),
    "erasure": ("identifier",),
    "retraction": ("link_a", "link_b"),
    "profile": ("subject_id",),
}
_JUDGED = ("_longest_identifier", "_has_usable_identifier")


@dataclass(frozen=True)
class Checked:
    """Facts that pass, and rejected ones with `error_class` and `reason_of_rejection` (String) beside."""

    good: pl.DataFrame
    rejects: pl.DataFrame


@dataclass(frozen=True)
class _Rule:
    error_class: str
    fails: pl.Expr
    reason: str | pl.Expr


def check_facts(facts: pl.DataFrame, fact: str, vocabulary: Vocabulary) -> Checked:
    """Check facts against their contract.

    Args:
        facts: frame with the contract's columns; more columns are carried along in rejects.
        fact: the type of fact.
        vocabulary: the words that facts may use.

    Returns:
        The good facts with exactly the contract's columns, and the rejects.
    """
    rules = _rules(fact, vocabulary)
    if fact == "touchpoint":
        facts = facts.with_columns(_judge_identifiers(facts["identifiers"], vocabulary))
    error_class, reason = pl.lit(None, pl.String), pl.lit(None, pl.String)
    for rule in reversed(rules):
        fails = rule.fails.fill_null(False)
        said = pl.lit(rule.reason) if isinstance(rule.reason, str) else rule.reason
        error_class = pl.when(fails).then(pl.lit(rule.error_class)).otherwise(error_class)
        reason = pl.when(fails).then(said).otherwise(reason)
    judged = facts.with_columns(error_class.alias("error_class"), reason.alias("reason_of_rejection"))
    passes = judged["error_class"].is_null()
    rejects = judged.filter(~passes).drop(_JUDGED, strict=False)
    return Checked(facts.filter(passes).select(list(frame_schema(fact))), rejects)


def _rules(fact: str, vocabulary: Vocabulary) -> list[_Rule]:
    schema = frame_schema(fact)
    rules = [_nul_rule(schema)]
    rules.extend(_word_rules(fact))
    required = sorted(required_columns(fact) - {"identifiers", "products", "raw_ids", *enum_columns(fact)})
    if fact == "identity_link":
        ends = pl.col("a").is_null() | pl.col("b").is_null()
        rules.append(_Rule("missing_value", ends, "a link joins two identifiers; yield exactly two"))
    rules.extend(
        _Rule("missing_value", pl.col(name).is_null(), f"{_said(name)} is missing") for name in required
    )
    rules.extend(_time_rules(schema))
    rules.extend(_number_rules(schema, fact, vocabulary))
    rules.extend(_name_rules(schema))
    rules.extend(_identifier_rules(fact, vocabulary))
    if fact == "retraction":
        nothing = pl.col("target_event_id").is_null() & (
            pl.col("link_a").is_null() | pl.col("link_b").is_null()
        )
        rules.append(_Rule("no_target", nothing, "neither a target nor two ends of a link; name one"))
    return rules


def _said(column: str) -> str:
    """Call a column as mappings call it."""
    return {"amount_micros": "amount", "subject_id": "the subject (an identifier or an account)"}.get(
        column, column
    )


def _nul_rule(schema: pl.Schema) -> _Rule:
    holds = [
        (pl.col(name) if kind == pl.String else pl.col(name).list.join("")).str.contains("\0", literal=True)
        for name, kind in schema.items()
        if kind in (pl.String, pl.List(pl.String)) and name not in ("raw_ids", "mapping_version", "source")
    ]
    return _Rule(
        "nul_byte", pl.any_horizontal(*[held.fill_null(False) for held in holds]), "holds a NUL byte"
    )


def _word_rules(fact: str) -> list[_Rule]:
    rules = []
    for name, words in enum_columns(fact).items():
        # The word itself is no personal data, yet what stands in the wrong column may be: it is cut.
        shown = pl.col(name).str.slice(0, 40)
        rules.append(
            _Rule(
                f"unknown_{name}",
                pl.col(name).is_not_null() & ~pl.col(name).is_in(list(words)),
                pl.format(f"{{}} is no {name} of the vocabulary", shown),
            )
        )
        rules.append(_Rule("missing_value", pl.col(name).is_null(), f"{name} is missing"))
    return rules


def _time_rules(schema: pl.Schema) -> list[_Rule]:
    rules = []
    for name, kind in schema.items():
        if kind == pl.Date:
            rules.append(_Rule("too_early", pl.col(name) < date(1900, 1, 1), f"{name} is before 1900"))
        elif isinstance(kind, pl.Datetime):
            rules.append(_Rule("too_early", pl.col(name) < EARLIEST, f"{name} is before 1900"))
            if name in _PAST_TIMES:
                ahead = pl.col(name) > pl.col("received_at") + CLOCKS_DIFFER
                rules.append(_Rule("in_the_future", ahead, f"{name} is more than a day after received_at"))
    return rules


def _number_rules(schema: pl.Schema, fact: str, vocabulary: Vocabulary) -> list[_Rule]:
    rules = []
    if "amount_micros" in schema:
        amount = pl.col("amount_micros")
        largest = f"amount is beyond {LARGEST_AMOUNT // 10**6} units"
        rules.append(_Rule("negative_amount", amount < 0, "amount is negative; money back is a refund"))
        rules.append(_Rule("absurd_amount", amount > LARGEST_AMOUNT, largest))
        no_currency = amount.is_not_null() & pl.col("currency").is_null()
        rules.append(_Rule("missing_value", no_currency, "an amount without a currency"))
        unknown = pl.col("currency").is_not_null() & ~pl.col("currency").is_in(sorted(CURRENCIES))
        said = pl.format("{} is no currency of ISO 4217", pl.col("currency").str.slice(0, 10))
        rules.append(_Rule("unknown_currency", unknown, said))
    if fact == "touchpoint":
        refunds = [name for name, kind in vocabulary.kinds.items() if kind.amount == "refunded"]
        nothing = pl.col("kind").is_in(refunds) & (pl.col("amount_micros") <= 0)
        rules.append(_Rule("empty_refund", nothing, "a refund's amount is above 0"))
        score = pl.col("score_percent")
        rules.append(_Rule("bad_score", ~score.is_between(0, 100), "score_percent is not from 0 to 100"))
        booking = pl.col("booking_number")
        rules.append(_Rule("bad_number", ~booking.is_between(0, 2**31 - 1), "booking_number is no count"))
    if "count" in schema:
        rules.append(_Rule("bad_number", pl.col("count") < 0, "count is negative"))
    return rules


def _name_rules(schema: pl.Schema) -> list[_Rule]:
    return [
        _Rule(
            "name_too_long",
            pl.col(name).str.len_bytes() > LONGEST_NAME,
            f"{name} is longer than {LONGEST_NAME} bytes of UTF-8",
        )
        for name in _NAMES
        if name in schema
    ]


def _judge_identifiers(identifiers: pl.Series, vocabulary: Vocabulary) -> list[pl.Series]:
    """Give the length in bytes of each fact's longest identifier, and whether one of them is usable (not blocked).

    Every distinct identifier is looked at once.
    """
    rows = identifiers.alias("identifier").to_frame().with_row_index("at")
    flat = rows.explode("identifier")
    value = pl.col("identifier").str.replace(r"^[^:]*:", "").str.strip_chars().str.to_lowercase()
    distinct = flat.select(pl.col("identifier").drop_nulls().unique()).with_columns(
        pl.col("identifier").str.len_bytes().cast(pl.Int64).alias("length"),
        (~value.str.contains(vocabulary.blocklist.pattern)).alias("usable"),
    )
    found = (
        flat.join(distinct, on="identifier", how="left")
        .group_by("at")
        .agg(pl.col("length").max(), pl.col("usable").any())
    )
    # Empty lists may leave no trace in what was exploded.
    judged = (
        rows.select("at")
        .join(found, on="at", how="left", maintain_order="left")
        .with_columns(pl.col("length").fill_null(0), pl.col("usable").fill_null(False))
    )
    return [judged["length"].alias(_JUDGED[0]), judged["usable"].alias(_JUDGED[1])]


def _identifier_rules(fact: str, vocabulary: Vocabulary) -> list[_Rule]:
    known = r"^(?:" + "|".join(vocabulary.namespaces) + r"):."
    if fact == "touchpoint":
        named = pl.col("account_id").is_not_null() | pl.col("opportunity_id").is_not_null()
        return [
            _Rule(
                "identifier_too_long",
                pl.col("_longest_identifier") > LONGEST_NAME,
                f"an identifier is longer than {LONGEST_NAME} bytes of UTF-8",
            ),
            _Rule(
                "no_subject",
                ~(pl.col("_has_usable_identifier") | named),
                "no usable identifier (empty and blocked ones aside), account or opportunity",
            ),
        ]
    rules = []
    for name in _IDENTIFIERS.get(fact, ()):
        given = pl.col(name)
        if fact == "profile":
            given = pl.when(pl.col("subject_type") == "customer").then(given)
        rules.append(
            _Rule(
                "bad_identifier",
                given.is_not_null() & ~given.str.contains(known),
                f"{name} is no identifier; write namespace:value with a namespace of the vocabulary",
            )
        )
        rules.append(
            _Rule(
                "identifier_too_long",
                given.str.len_bytes() > LONGEST_NAME,
                f"{name} is longer than {LONGEST_NAME} bytes of UTF-8",
            )
        )
    return rules
