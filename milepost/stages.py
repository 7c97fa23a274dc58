"""Stages: the fold of a customer's or an account's touchpoints over the six stages, and the status beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from milepost.words import Words, words_from_codes

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: No time, row or stage.
NONE = -(2**62)
CONVERSION, RETAIN, GROW = 3, 4, 5
STAGES = 6

#: What a conversion is to the fold.
NOT_A_CONVERSION, CONVERSION_RETAINS, CONVERSION_GROWS = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Folds:
    """The folds of subjects 0 … n-1, times in UTC microseconds, `NONE` where there is none.

    `entered_at` is (n, 6): when each stage was first entered. `entries` has the moves in order of subject and time.
    """

    current: Int8Array
    furthest: Int8Array
    entered_at: Int64Array
    converted_at: Int64Array
    first_touch_at: Int64Array
    last_touch_at: Int64Array
    last_touch: Int64Array
    touches: Int64Array
    conversions: Int64Array
    entries: pl.DataFrame


@numba.njit(cache=True)
def _fold(
    subjects: int,
    subject: Int32Array,
    time: Int64Array,
    kind_stage: Int8Array,
    conversion: Int8Array,
) -> tuple[
    Int8Array, Int8Array, Int64Array, Int64Array, Int64Array, Int64Array, Int64Array, Int64Array, Int64Array
]:
    """Fold touches sorted by subject and fold order.

    The last result has a row a move: touch, stage, stage before (-1 for none), time of the entry before.
    """
    current = np.full(subjects, -1, dtype=np.int8)
    furthest = np.full(subjects, -1, dtype=np.int8)
    entered_at = np.full((subjects, STAGES), NONE, dtype=np.int64)
    converted_at = np.full(subjects, NONE, dtype=np.int64)
    first_touch_at = np.full(subjects, NONE, dtype=np.int64)
    last_touch = np.full(subjects, -1, dtype=np.int64)
    touches = np.zeros(subjects, dtype=np.int64)
    conversions = np.zeros(subjects, dtype=np.int64)
    since = np.full(subjects, NONE, dtype=np.int64)
    moves = np.empty((len(subject), 4), dtype=np.int64)
    moved = 0
    for touch in range(len(subject)):
        who = subject[touch]
        touches[who] += 1
        last_touch[who] = touch
        if first_touch_at[who] == NONE:
            first_touch_at[who] = time[touch]
        stage = kind_stage[touch]
        target = -1
        if conversion[touch] != NOT_A_CONVERSION:
            conversions[who] += 1
            if converted_at[who] == NONE:
                converted_at[who] = time[touch]
                target = CONVERSION
            elif conversion[touch] == CONVERSION_GROWS:
                target = GROW
            else:
                target = RETAIN
        elif converted_at[who] == NONE:
            if stage <= CONVERSION and stage > current[who]:
                target = stage
        elif stage in (RETAIN, GROW):
            target = stage
        if target < 0 or target == current[who]:
            continue
        moves[moved, 0], moves[moved, 1] = touch, target
        moves[moved, 2], moves[moved, 3] = current[who], since[who]
        moved += 1
        current[who] = target
        furthest[who] = max(furthest[who], target)
        since[who] = time[touch]
        if entered_at[who, target] == NONE:
            entered_at[who, target] = time[touch]
    return (
        current,
        furthest,
        entered_at,
        converted_at,
        first_touch_at,
        last_touch,
        touches,
        conversions,
        moves[:moved].copy(),
    )


def fold(touches: pl.DataFrame, subjects: int) -> Folds:
    """Fold touches into stages.

    Args:
        touches: sorted by subject and fold order, kinds that only link aside: `subject` (Int32, 0 … subjects-1),
            `occurred_at`, `stage_code` (Int8), `conversion` (Int8, see `CONVERSION_GROWS`).
        subjects: how many there are; those without touches have empty folds.
    """
    time = touches.get_column("occurred_at").cast(pl.Int64).to_numpy()
    current, furthest, entered_at, converted_at, first, last, count, conversions, moves = _fold(
        subjects,
        touches.get_column("subject").to_numpy(),
        time,
        touches.get_column("stage_code").to_numpy(),
        touches.get_column("conversion").to_numpy(),
    )
    last_at = np.where(last >= 0, time[np.maximum(last, 0)] if len(time) else NONE, NONE)
    moved_at = time[moves[:, 0]] if len(moves) else np.zeros(0, dtype=np.int64)
    entries = pl.DataFrame(
        {
            "touch": moves[:, 0],
            "stage_code": moves[:, 1].astype(np.int8),
            "from_code": moves[:, 2].astype(np.int8),
            # Whole seconds, and never negative: touches are in order of time.
            "seconds_in_previous": np.where(moves[:, 2] >= 0, (moved_at - moves[:, 3]) // 1_000_000, NONE),
        }
    )
    return Folds(
        current, furthest, entered_at, converted_at, first, last_at, last, count, conversions, entries
    )


def _instants(name: str, times: Int64Array) -> pl.Series:
    series = pl.Series(name, times)
    return series.set(series == NONE, None).cast(pl.Datetime("us", "UTC"))


def fold_columns(folds: Folds, words: Words) -> pl.DataFrame:
    """Give the columns of tables `journeys` and `accounts` that come of the fold, `status` aside; a row a subject."""
    stages = list(words.vocabulary.stages)
    return pl.DataFrame(
        [
            words_from_codes("current_stage", folds.current, words.stage),
            words_from_codes("furthest_stage", folds.furthest, words.stage),
            *(_instants(f"{stage}_at", folds.entered_at[:, code]) for code, stage in enumerate(stages)),
            _instants("converted_at", folds.converted_at),
            _instants("first_touch_at", folds.first_touch_at),
            _instants("last_touch_at", folds.last_touch_at),
            pl.Series("touches", folds.touches),
            pl.Series("conversions", folds.conversions),
        ]
    )


def stage_entries(folds: Folds, touches: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Give table `stage_entries` of folds over customers.

    Args:
        folds: of `touches`.
        touches: as `fold` takes them, with `customer_id`, `event_id`, `shared` too.
        words: the vocabulary's codes.
    """
    entries = folds.entries
    at = touches.select("customer_id", "event_id", "occurred_at", "shared")[entries.get_column("touch")]
    seconds = entries.get_column("seconds_in_previous")
    return (
        at.with_columns(
            words_from_codes("stage", entries.get_column("stage_code").to_numpy(), words.stage),
            words_from_codes("from_stage", entries.get_column("from_code").to_numpy(), words.stage),
            seconds.set(seconds == NONE, None),
        )
        .filter(~pl.col("shared"))
        .select(
            "customer_id",
            "event_id",
            "stage",
            pl.col("occurred_at").alias("entered_at"),
            "from_stage",
            "seconds_in_previous",
        )
    )


def status(folds: Folds, touches: pl.DataFrame, words: Words) -> pl.Series:
    """Give each subject's status: `open`, `customer`, `lost` or `churned`.

    Args:
        folds: of `touches`.
        touches: as `fold` takes them, with `kind` (Enum), `opportunity_id` and `subscription_id` too.
        words: the vocabulary's codes.
    """
    result = pl.Series("status", np.where(folds.conversions > 0, "customer", "open"), pl.String)
    if not touches.height:
        return result
    last = folds.last_touch
    last_kind = touches.get_column("kind").to_physical().to_numpy()[np.maximum(last, 0)]
    for step, identifier, closing, outcome in (
        ("opportunity", "opportunity_id", ("lost",), "lost"),
        ("subscription", "subscription_id", ("cancelled",), "churned"),
    ):
        closes = np.array([getattr(kind, step) in closing for kind in words.vocabulary.kinds.values()])
        ended = (last >= 0) & closes[last_kind]
        if step == "opportunity":
            ended &= folds.conversions == 0
        if not ended.any():
            continue
        still_open = _subjects_with_open(touches, np.flatnonzero(ended), step, identifier, words)
        ended[still_open] = False
        result = result.scatter(np.flatnonzero(ended), outcome)
    return result


#: The steps after which an opportunity or a subscription is open.
_OPEN_STEPS = {"opportunity": ("created", "changed"), "subscription": ("started", "renewed")}


def _subjects_with_open(
    touches: pl.DataFrame, candidates: npt.NDArray[np.int64], step: str, identifier: str, words: Words
) -> npt.NDArray[np.int64]:
    """Say which of the candidates have an opportunity or subscription whose last step leaves it open."""
    steps = touches.filter(
        pl.col("subject").is_in(pl.Series(candidates).cast(pl.Int32).implode())
        & pl.col("kind").is_in(words.kinds_where(lambda kind: getattr(kind, step) is not None))
    ).with_columns(words.kind_column("kind", step).alias("step"))
    last = steps.group_by("subject", identifier, maintain_order=True).agg(pl.col("step").last())
    open_ones = last.filter(pl.col("step").is_in(_OPEN_STEPS[step]))
    return open_ones.get_column("subject").unique().cast(pl.Int64).to_numpy()


def as_touches(timeline: pl.DataFrame, subject: pl.Series, grows: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Prepare a timeline for the fold over a subject.

    Args:
        timeline: in fold order, with `books` and `stage_code`.
        subject: Int32, the subject of each row, -1 to leave the row out.
        grows: `position` and `grows` (Boolean) of the conversions.
        words: the vocabulary's codes.

    Returns:
        The rows that count, kinds that only link aside, sorted by subject and fold order.
    """
    links_only = words.links_only[timeline.get_column("kind").to_physical().to_numpy()]
    conversion = np.zeros(timeline.height, dtype=np.int8)
    conversion[grows.get_column("position").to_numpy()] = np.where(
        grows.get_column("grows").to_numpy(), CONVERSION_GROWS, CONVERSION_RETAINS
    )
    codes = subject.to_numpy()
    rows = np.flatnonzero((codes >= 0) & ~links_only)
    order = rows[np.argsort(codes[rows], kind="stable")]
    picked = timeline.select(
        "occurred_at",
        "stage_code",
        "kind",
        "opportunity_id",
        "subscription_id",
        "customer_id",
        "event_id",
        "shared",
    )[order]
    return picked.with_columns(pl.Series("subject", codes[order]), pl.Series("conversion", conversion[order]))
