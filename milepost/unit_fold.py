"""The fold of whole units: what becomes of each fact, and the tables that need nothing beyond the units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from milepost.facts import RUN_MARKS, Standing, canonical_json, stand
from milepost.rules import Rules
from milepost.stitch import Evidence, Folded, Tables, fold_subjects, identify, weigh_evidence
from schemas.contracts import FACT_TYPES
from schemas.vocabulary import Vocabulary

#: Takes facts by type, gives those that pass the row-level expectations, and the others:
#: see `QUARANTINED`.
Quarantine = Callable[[Mapping[str, pl.DataFrame]], tuple[dict[str, pl.DataFrame], pl.DataFrame]]

FATES = pl.Schema({"source": pl.String(), "fate": pl.String(), "facts": pl.Int64()})

QUARANTINED = pl.Schema(
    dict.fromkeys(("fact_type", "event_id", "source", "expectation", "reason"), pl.String())
)

REJECTED = pl.Schema(
    {
        "source": pl.String(),
        "error_class": pl.String(),
        "reason": pl.String(),
        "payload": pl.String(),
        "received_at": pl.Datetime("us", "UTC"),
    }
)


@dataclass(frozen=True)
class UnitState:
    """What the facts of whole units say.

    `tables` lacks what depends on what touches had cost, `money` too. `spend` has the spend that counts.
    """

    tables: Tables
    folded: Folded
    spend: pl.DataFrame


@dataclass(frozen=True)
class UnitFold(UnitState):
    """The fold of whole units.

    `standing` has the facts that stand, quarantined and erased ones too, with the marks of the input. `fates`
    (`source`, `fate`, `facts`) counts the new facts; `rejected` (see `REJECTED`) are the dead letters of this
    step; `quarantined` is as `Quarantine` gives it.
    """

    standing: dict[str, pl.DataFrame]
    fates: pl.DataFrame
    rejected: pl.DataFrame
    quarantined: pl.DataFrame


@dataclass(frozen=True)
class UnitChange:
    """What new facts change in whole units: `old` is what was known, `new` what is.

    Both leave the units out in which no new fact stands: they are as they were. `changed` (UInt64) names the others;
    `gone` has the event_ids of facts that stood and no longer do, by type.
    """

    old: UnitState
    new: UnitFold
    changed: pl.Series
    gone: dict[str, pl.Series]


def fold_units(
    facts: Mapping[str, pl.DataFrame], quarantine: Quarantine, vocabulary: Vocabulary, rules: Rules
) -> UnitFold:
    """Fold the facts of whole units.

    Args:
        facts: by type, every type there is, with the columns of the contracts, `is_new` (Boolean: the run counts
            its fate) and any other marks.
        quarantine: sets facts aside that fail a row-level expectation.
        vocabulary: the words.
        rules: the settings.
    """
    judged = {name: stand(facts[name]) for name in FACT_TYPES}
    good, quarantined = quarantine({name: result.facts for name, result in judged.items()})
    return _as_fold(judged, quarantined, *_fold(good, vocabulary, rules))


def fold_change(
    known: Mapping[str, pl.DataFrame],
    added: Mapping[str, pl.DataFrame],
    quarantine: Quarantine,
    vocabulary: Vocabulary,
    rules: Rules,
) -> UnitChange:
    """Fold the facts of whole units as they were and as new facts make them.

    What is asked of each fact by itself is asked once for both.

    Args:
        known: the facts that stood, by type, every type there is, as `fold_units` takes them, with `unit` (UInt64).
        added: the new ones, as `known`.
        quarantine: sets facts aside that fail a row-level expectation.
        vocabulary: the words.
        rules: the settings.
    """
    judged = {
        name: stand(pl.concat([known[name], added[name]], rechunk=True))
        if added[name].height
        else Standing(known[name], known[name].clear().with_columns(pl.lit(None, pl.String).alias("fate")))
        for name in FACT_TYPES
    }
    gone = {name: result.others.filter(~pl.col("is_new")).drop("fate") for name, result in judged.items()}
    good, quarantined = quarantine({name: result.facts for name, result in judged.items()})
    good_before = {name: frame.filter(~pl.col("is_new")) for name, frame in good.items()}
    if any(frame.height for frame in gone.values()):
        good_gone, _ = quarantine(gone)
        good_before = {name: pl.concat([frame, good_gone[name]]) for name, frame in good_before.items()}
    coming = [result.facts.filter("is_new").get_column("unit") for result in judged.values()]
    changed = pl.concat(coming).unique()
    new = _as_fold(judged, quarantined, *_fold(_of_units(good, changed), vocabulary, rules))
    old, _ = _fold(_of_units(good_before, changed), vocabulary, rules)
    return UnitChange(old, new, changed, {name: frame.get_column("event_id") for name, frame in gone.items()})


def _of_units(facts: Mapping[str, pl.DataFrame], units: pl.Series) -> dict[str, pl.DataFrame]:
    wanted = {
        name: frame.get_column("unit").is_in(units.implode()) if frame.height else None
        for name, frame in facts.items()
    }
    return {
        name: frame if (mask := wanted[name]) is None or mask.all() else frame.filter(mask)
        for name, frame in facts.items()
    }


def _fold(
    good: Mapping[str, pl.DataFrame], vocabulary: Vocabulary, rules: Rules
) -> tuple[UnitState, Evidence]:
    evidence = weigh_evidence(good, vocabulary)
    customers = identify(evidence, vocabulary)
    folded = fold_subjects(evidence, customers, vocabulary, rules)
    tables = {**evidence.tables, **customers.tables, **folded.tables}
    return UnitState(tables, folded, evidence.facts["spend"]), evidence


def _as_fold(
    judged: Mapping[str, Standing], quarantined: pl.DataFrame, state: UnitState, evidence: Evidence
) -> UnitFold:
    standing = {name: result.facts for name, result in judged.items()}
    others = {name: result.others for name, result in judged.items()}
    return UnitFold(
        tables=state.tables,
        folded=state.folded,
        spend=state.spend,
        standing=standing,
        fates=_count_fates(standing, others, quarantined, evidence),
        rejected=pl.concat([_conflicts(others), _refused(standing, evidence)]),
        quarantined=quarantined,
    )


def _count_fates(
    standing: Mapping[str, pl.DataFrame],
    others: Mapping[str, pl.DataFrame],
    quarantined: pl.DataFrame,
    evidence: Evidence,
) -> pl.DataFrame:
    parts = []
    for name in FACT_TYPES:
        parts.append(others[name].filter("is_new").select("source", "fate"))
        new = standing[name].filter("is_new").select("source", "event_id")
        if not new.height:
            continue
        fates = {
            "quarantined": quarantined.filter(pl.col("fact_type") == name).get_column("event_id"),
            "rejected": _refused_event_ids(name, evidence),
            "erased": evidence.erased.get(name, pl.Series([], dtype=pl.String)),
        }
        fate = pl.coalesce(
            *(
                pl.when(pl.col("event_id").is_in(event_ids.implode())).then(pl.lit(fate))
                for fate, event_ids in fates.items()
                if len(event_ids)
            ),
            pl.lit("accepted"),
        )
        parts.append(new.select("source", fate.alias("fate")))
    counted = pl.concat(parts).group_by("source", "fate").agg(pl.len().cast(pl.Int64).alias("facts"))
    return counted.cast(FATES).sort("source", "fate")


def _refused_event_ids(name: str, evidence: Evidence) -> pl.Series:
    """Name the retractions or erasures that were rejected."""
    if name not in ("retraction", "erasure"):
        return pl.Series([], dtype=pl.String)
    return _refused_rows(name, evidence).get_column("event_id")


def _refused_rows(name: str, evidence: Evidence) -> pl.DataFrame:
    rejected = evidence.tables[f"{name}s"].filter(pl.col("status") == "rejected")
    # A withdrawal of consent that asks for erasure is a row of `erasures` too, but stands as a consent.
    return rejected.filter(pl.col("fact") == "erasure") if name == "erasure" else rejected


def _as_rejected(facts: pl.DataFrame, error_class: str, reason: pl.Expr) -> pl.DataFrame:
    marks = ("fate", "why", "mapping_version", *RUN_MARKS)
    says = facts.drop([column for column in marks if column in facts.columns])
    return facts.select(
        "source",
        pl.lit(error_class).alias("error_class"),
        reason.alias("reason"),
        canonical_json(says).alias("payload"),
        "received_at",
    ).cast(REJECTED)


def _conflicts(others: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    parts = [pl.DataFrame(schema=REJECTED)]
    for name, frame in others.items():
        lost = frame.filter(pl.col("fate") == "conflict")
        if lost.height:
            reason = pl.format(
                f"{name} {{}}: another fact of this event_id and revision says something else and stands; "
                "send the right one with a greater revision",
                "event_id",
            )
            parts.append(_as_rejected(lost, "conflict", reason))
    return pl.concat(parts)


def _refused(standing: Mapping[str, pl.DataFrame], evidence: Evidence) -> pl.DataFrame:
    parts = [pl.DataFrame(schema=REJECTED)]
    for name in ("retraction", "erasure"):
        why = _refused_rows(name, evidence).select("event_id", pl.col("reason").alias("why"))
        lost = standing[name].filter("is_new").join(why, on="event_id", maintain_order="left")
        if lost.height:
            reason = pl.format(f"{name} {{}}: {{}}", "event_id", "why")
            parts.append(_as_rejected(lost, "rejected", reason).select(list(REJECTED)))
    return pl.concat(parts)
