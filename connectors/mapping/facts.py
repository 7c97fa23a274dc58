"""From the rows that a mapping yields to canonical facts: ids, identifiers, defaults, origin."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from connectors.ids import ID_DIGITS, hash_texts
from connectors.keys import Identifiers
from connectors.mapping.columns import mapping_columns
from connectors.mapping.statement import ROW
from schemas.contracts import frame_schema
from schemas.vocabulary import Vocabulary

#: Of a fact without a native id: SHA-256 over source and raw record, and which of the record's facts it is.
Digests = Callable[[pl.Series], pl.DataFrame]

_UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Origin:
    """Where the rows come from.

    `raw_id` is what the file, or the partition of a stream, is called among raw records. `received_at` (microseconds,
    UTC) is when they came in; where each came in by itself, `arrivals` says when: `_row`, `arrived_at` (UTC).
    """

    system: str
    raw_id: str
    received_at: int
    mapping_version: str
    fact: str
    unit: str
    arrivals: pl.DataFrame | None = None


@dataclass(frozen=True)
class Made:
    """Facts of a batch.

    `facts`: the contract's columns, and `_row` (Int64, null for a file mapping).
    `filtered`: rows that the mapping yielded without a kind.
    """

    facts: pl.DataFrame
    filtered: int


def make_facts(rows: pl.DataFrame, origin: Origin, identifiers: Identifiers, digests: Digests) -> Made:
    """Make facts of what a mapping yielded.

    Args:
        rows: see `MappingEngine.map_batch`.
        origin: where the rows come from.
        identifiers: normalises and hashes personal values.
        digests: gives, for `_row` numbers, `_row`, `digest` and `occurrence` of the raw records.
    """
    filtered = 0
    if origin.fact == "touchpoint":
        kinds = rows["kind"] if "kind" in rows.columns else pl.Series([None] * rows.height, dtype=pl.String)
        filtered = kinds.null_count()
        rows = rows.filter(kinds.is_not_null())
    if ROW not in rows.columns:
        rows = rows.with_columns(pl.lit(None, pl.Int64).alias(ROW))
    named = _targets(rows, origin, identifiers)
    named["event_id"] = _event_ids(rows, digests)
    schema = frame_schema(origin.fact)
    columns = [_column(name, kind, named, rows.height) for name, kind in schema.items()]
    facts = pl.DataFrame([*columns, rows[ROW]])
    if origin.arrivals is not None:
        facts = (
            facts.join(origin.arrivals, on=ROW, how="left", maintain_order="left")
            .with_columns(pl.coalesce("received_at", "arrived_at").alias("received_at"))
            .drop("arrived_at")
        )
    return Made(facts.with_columns(_defaults(origin, identifiers.vocabulary)), filtered)


def _column(name: str, kind: pl.DataType, named: dict[str, pl.Series], height: int) -> pl.Series:
    """Give a column of the contract: what the mapping says, else null, else an empty list."""
    values = named.get(name)
    if values is None:
        empty: object = [] if isinstance(kind, pl.List) else None
        return pl.Series(name, [empty], dtype=kind).new_from_index(0, height)
    if kind == _UTC:
        values = values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return values.cast(kind).alias(name)


def _targets(rows: pl.DataFrame, origin: Origin, identifiers: Identifiers) -> dict[str, pl.Series]:
    """Bring the yielded columns to the contract's columns by name."""
    known = mapping_columns(origin.fact, tuple(identifiers.vocabulary.namespaces))
    named: dict[str, pl.Series] = {}
    persons: list[pl.Series] = []
    for name in rows.columns:
        column = known.get(name)
        if column is None:
            continue
        values = rows[name]
        if column.form == "values":
            persons.append(_persons(name, values, identifiers))
        elif column.form == "identifier":
            named[column.target] = identifiers.named_column(values)
        elif column.form == "json":
            named[column.target] = _canonical_json(values)
        elif column.form == "texts":
            named[column.target] = _texts(values)
        elif column.target in named:
            named[column.target] = pl.select(pl.coalesce(named[column.target], values)).to_series()
        else:
            named[column.target] = values
    order = identifiers.vocabulary.namespace_rank
    persons.sort(key=lambda series: order[series.name])
    return {**named, **_of_persons(rows, origin.fact, named, persons)}


def _persons(namespace: str, values: pl.Series, identifiers: Identifiers) -> pl.Series:
    """Give the identifiers of one namespace as lists (List(String)) in the order given."""
    if values.dtype != pl.List:
        return (
            identifiers.column(namespace, values.cast(pl.String))
            .to_frame()
            .select(pl.concat_list(pl.col(namespace)).list.drop_nulls())[namespace]
        )
    frame = values.cast(pl.List(pl.String)).alias("values").to_frame().with_row_index("at")
    flat = frame.explode("values")
    flat = flat.with_columns(identifiers.column(namespace, flat["values"].alias(namespace)))
    lists = flat.group_by("at").agg(pl.col(namespace).drop_nulls())
    # Empty lists may leave no trace in what was exploded.
    return (
        frame.select("at")
        .join(lists, on="at", how="left", maintain_order="left")
        .select(pl.coalesce(namespace, pl.lit([], dtype=pl.List(pl.String))).alias(namespace))[namespace]
    )


def _of_persons(
    rows: pl.DataFrame, fact: str, named: dict[str, pl.Series], persons: list[pl.Series]
) -> dict[str, pl.Series]:
    """Bring identifiers to where the type of fact has them."""
    if persons:
        frame = pl.DataFrame(persons)
        every = frame.select(pl.concat_list(pl.all()).list.unique(maintain_order=True).alias("all"))["all"]
    else:
        every = pl.Series("all", [[]], dtype=pl.List(pl.String)).new_from_index(0, rows.height)
    if fact == "touchpoint":
        return {"identifiers": every}
    first = every.list.get(0, null_on_oob=True)
    if fact == "identity_link":
        # A link joins two: with three the mapping has to say which, and the contract check tells it so.
        two = pl.select(pl.when(every.list.len() == 2).then(every.list.get(1, null_on_oob=True))).to_series()
        ends = {"a": first, "b": two}
        return {name: _coalesced(named.get(name), end) for name, end in ends.items()}
    if fact in ("consent", "erasure"):
        return {"identifier": _coalesced(named.get("identifier"), first)}
    if fact == "profile":
        person = _coalesced(named.get("identifier"), first)
        account = named.get("account", pl.Series([None], dtype=pl.String).new_from_index(0, rows.height))
        words = pl.select(
            pl.when(account.is_not_null()).then(pl.lit("account")).otherwise(pl.lit("customer"))
        )
        return {"subject_type": words.to_series(), "subject_id": _coalesced(account, person)}
    return {}


def _coalesced(first: pl.Series | None, second: pl.Series) -> pl.Series:
    return second if first is None else pl.select(pl.coalesce(first, second)).to_series()


def _texts(values: pl.Series) -> pl.Series:
    if values.dtype != pl.List:
        return pl.select(pl.concat_list(values.cast(pl.String)).list.drop_nulls()).to_series()
    listed = values.cast(pl.List(pl.String)).alias("values").to_frame()
    kept = pl.col("values").list.eval(pl.element().filter(pl.element().str.strip_chars() != ""))
    return listed.select(pl.coalesce(kept.list.drop_nulls(), pl.lit([], dtype=pl.List(pl.String))))["values"]


def _canonical_json(values: pl.Series) -> pl.Series:
    """Sort the keys of JSON texts (each distinct one once)."""
    distinct = values.drop_nulls().unique()
    made = pl.Series([_sorted_json(text) for text in distinct], dtype=pl.String)
    return values.replace_strict(distinct, made, default=None, return_dtype=pl.String)


def _sorted_json(text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _event_ids(rows: pl.DataFrame, digests: Digests) -> pl.Series:
    """Give the facts' ids: from native ids, else from the raw record and which of its facts it is."""
    native = rows["native_id"] if "native_id" in rows.columns else None
    if native is None:
        native = pl.Series([None] * rows.height, dtype=pl.String)
    if native.null_count() == 0:
        return native.alias("event_id")
    lacking = rows.with_row_index("_at").filter(native.is_null())
    lacking = lacking.join(digests(lacking[ROW].unique()), on=ROW, how="left", nulls_equal=True)
    several = pl.len().over(ROW) > 1
    if lacking.select(several.any()).item():
        # Which of the record's facts it is goes by what the facts say, never by the order of execution.
        says = pl.struct(sorted(set(rows.columns) - {ROW})).struct.json_encode()
        lacking = lacking.with_columns(
            pl.when(several).then(says.rank("ordinal").over(ROW)).otherwise(1).cast(pl.Int64).alias("_fact")
        )
    else:
        lacking = lacking.with_columns(pl.lit(1, pl.Int64).alias("_fact"))
    further = hash_texts(lacking.select(pl.format("{}#{}#{}", "digest", "occurrence", "_fact")).to_series())
    alone = (pl.col("_fact") == 1) & (pl.col("occurrence") == 1)
    lacking = lacking.with_columns(
        pl.when(alone).then(pl.col("digest").str.slice(0, ID_DIGITS)).otherwise(further).alias("_id")
    )
    return native.scatter(lacking["_at"], lacking["_id"]).alias("event_id")


def _defaults(origin: Origin, vocabulary: Vocabulary) -> list[pl.Expr]:
    """Fill what the mapping leaves out: the origin, and the kind's channel, team and reach."""
    row = pl.col(ROW).cast(pl.String)
    raw_id = (pl.lit(f"{origin.raw_id}:") + row) if origin.unit == "record" else pl.lit(origin.raw_id)
    filled = [
        pl.lit(origin.system).alias("source"),
        pl.col("revision").fill_null(0),
        pl.col("received_at").fill_null(pl.lit(origin.received_at, pl.Int64).cast(_UTC)),
        pl.concat_list(raw_id).alias("raw_ids"),
        pl.lit(origin.mapping_version).alias("mapping_version"),
    ]
    schema = frame_schema(origin.fact)
    if origin.fact == "touchpoint":
        filled.append(pl.col("booking_number").fill_null(0))
        filled.append(pl.col("currency").str.to_uppercase())
        for word in ("channel", "team", "reach"):
            usual = {name: str(getattr(kind, word)) for name, kind in vocabulary.kinds.items()}
            by_kind = pl.col("kind").replace_strict(usual, default=None, return_dtype=pl.String)
            filled.append(pl.coalesce(pl.col(word), by_kind).alias(word))
    elif origin.fact == "spend":
        filled.append(pl.col("currency").str.to_uppercase())
    filled.extend(pl.col(name).fill_null(False) for name in ("confirmed", "means_erasure") if name in schema)
    return filled
