"""Which facts stand: of one event_id the greatest revision, then the smallest received_at, then the canonical bytes.

A fact that an older mapping made gives way to one of today's, whatever they say.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from schemas.contracts import frame_schema

#: Columns that say what a fact was made from: the bus keeps them, the fold has no use for them.
PROVENANCE = ("raw_ids", "mapping_version")

#: Marks that a run gives a fact; `is_older` is that of an older mapping's.
RUN_MARKS = ("is_new", "is_older", "unit", "key")

#: Columns that say how a fact arrived, not what it says.
ARRIVAL_COLUMNS = ("received_at", *PROVENANCE, *RUN_MARKS)


def working_schema(name: str) -> pl.Schema:
    """Give the columns of facts that the fold works on: those of the contract without their provenance."""
    return pl.Schema(
        {column: kind for column, kind in frame_schema(name).items() if column not in PROVENANCE}
    )


@dataclass(frozen=True)
class Standing:
    """Facts that stand, and the fate of each of the others.

    `facts` has the columns of its input. `others` has them too, plus `fate` (String): `duplicate`,
    `superseded` or `conflict`.
    """

    facts: pl.DataFrame
    others: pl.DataFrame


def canonical_json(facts: pl.DataFrame) -> pl.Series:
    """Give each fact as canonical JSON (String): what it says, without how it arrived.

    Keys are sorted, timestamps are UTC microseconds. A skew-corrected `occurred_at` is left out: it differs
    between deliveries of one message.
    """
    columns = sorted(column for column in facts.columns if column not in ARRIVAL_COLUMNS)
    expressions = []
    for column in columns:
        expression = pl.col(column)
        if facts.schema[column] == pl.Datetime("us", "UTC"):
            expression = expression.cast(pl.Int64)
        elif facts.schema[column] == pl.Date:
            expression = expression.dt.to_string("%Y-%m-%d")
        elif facts.schema[column] in (pl.Categorical, pl.Enum):
            expression = expression.cast(pl.String)
        if column == "occurred_at" and "device_occurred_at" in columns:
            expression = pl.when(pl.col("device_occurred_at").is_null()).then(expression)
        expressions.append(expression.alias(column))
    return facts.select(pl.struct(expressions).struct.json_encode().alias("canonical")).to_series()


def _differing_event_ids(repeated: pl.DataFrame) -> pl.Series:
    """Name the event_ids whose facts do not all say the same; `repeated` is sorted by event_id."""
    same_event = pl.col("event_id") == pl.col("event_id").shift(1)
    says = [column for column in repeated.columns if column not in (*ARRIVAL_COLUMNS, "event_id", "_row")]
    differs = []
    for column in says:
        difference = pl.col(column).ne_missing(pl.col(column).shift(1))
        if column == "occurred_at" and "device_occurred_at" in says:
            difference &= pl.col("device_occurred_at").is_null()
        differs.append(difference)
    return repeated.filter(same_event & pl.any_horizontal(differs)).get_column("event_id").unique()


def stand(facts: pl.DataFrame) -> Standing:
    """Choose the facts that stand.

    Args:
        facts: facts of one type with the columns of their contract, in any order, with any repeats; with `is_older`
            (Boolean) where some may be an older mapping's.

    Returns:
        The standing facts in the order of the input, and the others with their fate.
    """
    repeated_mask = _repeated(facts)
    if not repeated_mask.any():
        return Standing(facts, facts.clear().with_columns(pl.lit(None, pl.String).alias("fate")))
    ordered = _in_order(facts.with_row_index("_row").filter(repeated_mask))
    differing = _differing_event_ids(ordered)
    if len(differing):
        ordered = _order_differing(ordered, differing)
    else:
        ordered = ordered.with_columns(pl.lit("").alias("_canonical"))
    first = pl.col("event_id") != pl.col("event_id").shift(1).fill_null("")
    outdated = pl.col("revision") < pl.col("revision").first().over("event_id")
    if "is_older" in ordered.columns:
        outdated |= pl.col("is_older") & ~pl.col("is_older").first().over("event_id")
    ordered = ordered.with_columns(
        first.alias("_stands"),
        pl.when(outdated)
        .then(pl.lit("superseded"))
        .when(pl.col("_canonical") == pl.col("_canonical").first().over("event_id"))
        .then(pl.lit("duplicate"))
        .otherwise(pl.lit("conflict"))
        .alias("fate"),
    )
    others = ordered.filter(~pl.col("_stands"))
    keep = pl.Series("keep", [True]).new_from_index(0, facts.height).scatter(others.get_column("_row"), False)
    return Standing(facts.filter(keep), others.drop("_row", "_canonical", "_stands"))


def _repeated(facts: pl.DataFrame) -> pl.Series:
    """Say of each fact whether others have its event_id. Its hash is asked first, where `key` has it."""
    event_ids = facts.get_column("event_id")
    if "key" not in facts.columns:
        return event_ids.is_duplicated()
    rows = facts.get_column("key").is_duplicated().arg_true()
    repeated = pl.Series([False], dtype=pl.Boolean).new_from_index(0, facts.height)
    return repeated.scatter(rows, event_ids.gather(rows).is_duplicated())


def _in_order(facts: pl.DataFrame, *canonical: str) -> pl.DataFrame:
    """Order the facts of an event_id, the one that stands first.

    Skew-corrected times of one delivery may differ where nothing else does: the earliest stands.
    """
    older = ["is_older"] if "is_older" in facts.columns else []
    last = ["occurred_at"] if "occurred_at" in facts.columns else []
    keys = ["event_id", *older, "revision", "received_at", *canonical, *last]
    return facts.sort(keys, descending=[key == "revision" for key in keys], maintain_order=True)


def _order_differing(ordered: pl.DataFrame, differing: pl.Series) -> pl.DataFrame:
    """Order the facts of differing event_ids by their canonical bytes too."""
    is_differing = pl.col("event_id").is_in(differing.implode())
    agreeing = ordered.filter(~is_differing).with_columns(pl.lit("").alias("_canonical"))
    disputed = ordered.filter(is_differing)
    disputed = disputed.with_columns(
        canonical_json(disputed.drop("_row")).alias("_canonical"),
    )
    return pl.concat([agreeing, _in_order(disputed, "_canonical")])
