"""Attribution: what each touch of a conversion's path is credited by the per-conversion models."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, getcontext, localcontext
from functools import lru_cache

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from milepost.largest_remainder import split
from milepost.path_models import PATH_COUNTS, TOUCHED, share, step
from milepost.rules import PER_CONVERSION_MODELS, Rules
from milepost.words import Words, words_from_codes
from schemas.tables import CREDIT_SCALE

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Units of a whole credit.
WHOLE_CREDIT = 10**CREDIT_SCALE

#: What stands for the touch and the channel of a conversion without touches.
NO_TOUCH = "(none)"

FIRST, LAST, LAST_NON_DIRECT, LINEAR, TIME_DECAY, POSITION, W_SHAPED, FULL_PATH = range(8)

# Flags of a touch.
IS_DIRECT, IS_HANDOVER, IS_OPPORTUNITY, IS_ENQUIRY = 1, 2, 4, 8

#: Time decay: weights have 40 bits, a half-life has 4,096 steps.
DECAY_BITS, DECAY_STEPS = 40, 4096


@lru_cache(maxsize=1)
def decay_table() -> Int64Array:
    """Give floor(2^40 / 2^(r/4096)) for r = 0 … 4095, exactly."""
    with localcontext() as context:
        context.prec = 40
        step = (Decimal(2).ln(getcontext()) / DECAY_STEPS).copy_negate().exp(context)
        value = Decimal(2**DECAY_BITS)
        table = []
        for _ in range(DECAY_STEPS):
            table.append(int(value))
            value *= step
    return np.array(table, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Paths:
    """The touches that may be credited, sorted by subject and fold order, and each conversion's part of them.

    `touches` are row numbers of the timeline. The path of conversion c (a row of `conversions`, in its order) is
    `touches[begin[c]:end[c]]`. `open_begin`, `open_end` are the paths after each subject's last conversion.
    """

    touches: Int64Array
    begin: Int64Array
    end: Int64Array
    open_begin: Int64Array
    open_end: Int64Array


@numba.njit(cache=True)
def _paths(
    touch_subject: Int64Array,
    touch_position: Int64Array,
    conversion_subject: Int64Array,
    conversion_position: Int64Array,
    subjects: int,
) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Walk touches and conversions, both sorted by (subject, position), side by side."""
    begin = np.zeros(len(conversion_subject), dtype=np.int64)
    end = np.zeros(len(conversion_subject), dtype=np.int64)
    open_begin = np.zeros(subjects, dtype=np.int64)
    open_end = np.zeros(subjects, dtype=np.int64)
    touch, conversion = 0, 0
    # Those that belong to no subject (-1) have empty paths.
    while conversion < len(conversion_subject) and conversion_subject[conversion] < 0:
        conversion += 1
    for subject in range(subjects):
        start = touch
        while conversion < len(conversion_subject) and conversion_subject[conversion] == subject:
            position = conversion_position[conversion]
            while (
                touch < len(touch_subject)
                and touch_subject[touch] == subject
                and touch_position[touch] < position
            ):
                touch += 1
            begin[conversion], end[conversion] = start, touch
            # The conversion itself, where it is a touch too, is in neither path.
            if (
                touch < len(touch_subject)
                and touch_subject[touch] == subject
                and touch_position[touch] == position
            ):
                touch += 1
            start = touch
            conversion += 1
        while touch < len(touch_subject) and touch_subject[touch] == subject:
            touch += 1
        open_begin[subject], open_end[subject] = start, touch
    return begin, end, open_begin, open_end


def find_paths(timeline: pl.DataFrame, conversions: pl.DataFrame, rules: Rules, words: Words) -> Paths:
    """Find the path of each conversion.

    Args:
        timeline: in fold order: `position`, `kind`, `team` (Enums), `shared`, `subject` (code), `occurred_at`.
        conversions: in fold order: `position`, `subject`, `subject_type`, `occurred_at`, `shared`.
        rules: the look-back.
        words: the vocabulary's codes.
    """
    links_only = words.links_only[timeline.get_column("kind").to_physical().to_numpy()]
    counts = (
        timeline.select(
            pl.col("team").is_in(["marketing", "sales"]) & ~pl.col("shared") & (pl.col("subject") >= 0)
        )
        .to_series()
        .to_numpy()
    )
    rows = np.flatnonzero(counts & ~links_only)
    # A shared customer's own conversion has no path; an account's has, whoever made it.
    pathless = conversions.select(
        (pl.col("shared") & (pl.col("subject_type") == "customer")) | (pl.col("subject") < 0)
    ).to_series()
    touch_codes = timeline.get_column("subject").to_numpy()[rows]
    conversion_codes = conversions.get_column("subject").to_numpy()
    touch_order = np.argsort(touch_codes, kind="stable")
    conversion_order = np.argsort(conversion_codes, kind="stable")
    begin, end, open_begin, open_end = _paths(
        touch_codes[touch_order],
        rows[touch_order],
        conversion_codes[conversion_order],
        conversions.get_column("position").cast(pl.Int64).to_numpy()[conversion_order],
        int(max(touch_codes.max(initial=-1), conversion_codes.max(initial=-1))) + 1,
    )
    place = np.empty_like(conversion_order)
    place[conversion_order] = np.arange(len(conversion_order))
    begin, end = begin[place], end[place]
    begin = np.where(pathless.to_numpy(), end, begin)
    touches = rows[touch_order]
    if rules.look_back_days is not None:
        begin = _within_look_back(timeline, conversions, touches, begin, end, rules.look_back_days)
    return Paths(touches, begin, end, open_begin, open_end)


@numba.njit(cache=True)
def _skip_older(begin: Int64Array, end: Int64Array, touch_time: Int64Array, oldest: Int64Array) -> Int64Array:
    later = begin.copy()
    for conversion in range(len(begin)):
        while later[conversion] < end[conversion] and touch_time[later[conversion]] < oldest[conversion]:
            later[conversion] += 1
    return later


def _within_look_back(
    timeline: pl.DataFrame,
    conversions: pl.DataFrame,
    touches: Int64Array,
    begin: Int64Array,
    end: Int64Array,
    look_back_days: float,
) -> Int64Array:
    times = timeline.get_column("occurred_at").cast(pl.Int64).to_numpy()[touches]
    converted = conversions.get_column("occurred_at").cast(pl.Int64).to_numpy()
    later: Int64Array = _skip_older(begin, end, times, converted - round(look_back_days * 86_400_000_000))
    return later


@numba.njit(cache=True)
def _keyed(keys: Int64Array, key_weight: int, rest_weight: int, size: int, weights: Int64Array) -> None:
    """Weigh a path by key touches (-1: missing) and a rest that shares its weight equally."""
    weights[:size] = 0
    for key in keys:
        if key >= 0:
            weights[key] += key_weight
    rest = 0
    for place in range(size):
        if weights[place] == 0:
            rest += 1
    if rest == 0:
        return
    # Whole numbers throughout: every key is weighed `rest` times, and each of the rest once.
    for place in range(size):
        weights[place] = rest_weight if weights[place] == 0 else weights[place] * rest


@numba.njit(cache=True)
def _weigh(
    model: int, flags: Int8Array, times: Int64Array, half_life: int, decay: Int64Array, weights: Int64Array
) -> None:
    """Weigh the touches of a path, none of which is missing, by a model."""
    size = len(flags)
    keys = np.full(4, -1, dtype=np.int64)
    if model == LINEAR:
        weights[:size] = 1
        return
    if model == TIME_DECAY:
        for place in range(size):
            # Both factors fit: an age of 10,000 years has 59 bits, so it is divided before it is scaled up.
            age = times[size - 1] - times[place]
            halvings = age // half_life
            step = (age % half_life) * DECAY_STEPS // half_life
            weights[place] = 0 if halvings > 62 else decay[step] >> halvings
        return
    keys[0] = 0
    if model == POSITION:
        keys[1] = size - 1
        _keyed(keys, 40, 20, size, weights)
        return
    if model in (W_SHAPED, FULL_PATH):
        for place in range(size - 1, -1, -1):
            if model == W_SHAPED and flags[place] & IS_HANDOVER:
                keys[1] = place
            if model == FULL_PATH and flags[place] & IS_ENQUIRY:
                keys[1] = place
            if flags[place] & IS_OPPORTUNITY:
                keys[2] = place
        if model == FULL_PATH:
            keys[3] = size - 1
            _keyed(keys, 45, 20, size, weights)
        else:
            _keyed(keys, 30, 10, size, weights)
        return
    weights[:size] = 0
    chosen = 0 if model == FIRST else size - 1
    if model == LAST_NON_DIRECT:
        while chosen > 0 and flags[chosen] & IS_DIRECT:
            chosen -= 1
        if flags[chosen] & IS_DIRECT:
            chosen = size - 1
    weights[chosen] = 1


@numba.njit(cache=True)
def _credit(
    models: Int64Array,
    begin: Int64Array,
    end: Int64Array,
    flags: Int8Array,
    times: Int64Array,
    amount: Int64Array,
    net: Int64Array,
    half_life: int,
    decay: Int64Array,
) -> tuple[Int32Array, Int8Array, Int64Array, Int64Array, Int64Array, Int64Array]:
    """Give rows of credits: conversion, model, touch (-1 for none), credit, amount, net."""
    longest = 1
    for conversion in range(len(begin)):
        longest = max(longest, end[conversion] - begin[conversion])
    weights = np.zeros(longest, dtype=np.int64)
    credit = np.zeros(longest, dtype=np.int64)
    booked = np.zeros(longest, dtype=np.int64)
    left = np.zeros(longest, dtype=np.int64)
    remainders = np.zeros(longest, dtype=np.int64)

    room = 0
    for conversion in range(len(begin)):
        size = end[conversion] - begin[conversion]
        for model in models:
            room += 1 if size == 0 or model <= LAST_NON_DIRECT else size
    out_conversion = np.empty(room, dtype=np.int32)
    out_model = np.empty(room, dtype=np.int8)
    out_touch = np.empty(room, dtype=np.int64)
    out_credit = np.empty(room, dtype=np.int64)
    out_amount = np.empty(room, dtype=np.int64)
    out_net = np.empty(room, dtype=np.int64)
    row = 0
    for conversion in range(len(begin)):
        first = begin[conversion]
        size = end[conversion] - first
        for model in models:
            if size <= 1:
                out_conversion[row], out_model[row] = conversion, model
                out_touch[row] = first if size == 1 else -1
                out_credit[row] = WHOLE_CREDIT
                out_amount[row], out_net[row] = amount[conversion], net[conversion]
                row += 1
                continue
            _weigh(model, flags[first : first + size], times[first : first + size], half_life, decay, weights)
            used = weights[:size]
            split(WHOLE_CREDIT, used, credit, remainders)
            split(amount[conversion], used, booked, remainders)
            split(net[conversion], used, left, remainders)
            for place in range(size):
                if used[place] == 0:
                    continue
                out_conversion[row], out_model[row], out_touch[row] = conversion, model, first + place
                out_credit[row], out_amount[row], out_net[row] = credit[place], booked[place], left[place]
                row += 1
    return (
        out_conversion[:row],
        out_model[:row],
        out_touch[:row],
        out_credit[:row],
        out_amount[:row],
        out_net[:row],
    )


def touch_flags(timeline: pl.DataFrame, words: Words) -> Int8Array:
    """Give each row of the timeline the flags that models look at."""
    kind = timeline.get_column("kind").to_physical().to_numpy()
    direct = (timeline.get_column("channel") == "direct").to_numpy()
    return np.asarray(
        direct * IS_DIRECT
        + words.offered[kind] * IS_HANDOVER
        + words.opportunity_created[kind] * IS_OPPORTUNITY
        + words.enquiry[kind] * IS_ENQUIRY,
        dtype=np.int8,
    )


def as_credit(units: Int64Array) -> pl.Series:
    """Turn non-negative units of 10^-12 into DECIMAL(18,12), without rounding."""
    halves = np.zeros((len(units), 2), dtype=np.int64)
    halves[:, 0] = units
    array = pa.Array.from_buffers(pa.decimal128(18, CREDIT_SCALE), len(units), [None, pa.py_buffer(halves)])
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)  # noqa: S101 - an array gives a series
    return series.alias("credit")


def credit_conversions(
    timeline: pl.DataFrame, conversions: pl.DataFrame, paths: Paths, rules: Rules, words: Words
) -> pl.DataFrame:
    """Give table `credits`.

    Args:
        timeline: in fold order: `event_id`, `channel`, `campaign_id`, `kind`, `occurred_at`.
        conversions: table `conversions` in fold order.
        paths: of `find_paths`.
        rules: the models and the half-life.
        words: the vocabulary's codes.
    """
    chosen = [PER_CONVERSION_MODELS.index(model) for model in PER_CONVERSION_MODELS if model in rules.models]
    flags = touch_flags(timeline, words)[paths.touches]
    times = timeline.get_column("occurred_at").cast(pl.Int64).to_numpy()[paths.touches]
    conversion, model, touch, credit, amount, net = _credit(
        np.array(chosen, dtype=np.int64),
        paths.begin,
        paths.end,
        flags,
        times,
        conversions.get_column("amount_micros").to_numpy(),
        conversions.get_column("net_micros").to_numpy(),
        round(rules.half_life_days * 86_400_000_000),
        decay_table(),
    )
    of = conversions.select("conversion_id", "currency")[conversion]
    touched = timeline.select("event_id", "channel", "campaign_id")
    row = np.where(
        touch >= 0, paths.touches[np.maximum(touch, 0)] if len(paths.touches) else 0, timeline.height
    )
    nothing = pl.DataFrame(
        {"event_id": [NO_TOUCH], "channel": [NO_TOUCH], "campaign_id": [None]}, schema=touched.schema
    )
    seen = pl.concat([touched, nothing])[row]
    models = words_from_codes("model", model, pl.Enum(list(PER_CONVERSION_MODELS)))
    rows: pl.DataFrame = of.select("conversion_id", models).hstack(
        [
            *seen.get_columns(),
            as_credit(credit),
            pl.Series("amount_micros", amount),
            pl.Series("net_micros", net),
            of.get_column("currency"),
        ]
    )
    return rows


@numba.njit(cache=True)
def _count(
    channel: npt.NDArray[np.uint8],
    begin: Int64Array,
    end: Int64Array,
    currency: Int64Array,
    amount: Int64Array,
    currencies: int,
    channels: int,
) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Count, by currency, steps (from, to), shares (distinct channels, channel; and amounts), and whole paths.

    Currency 0 is of paths that did not convert; the step after the last touch leads to channel `channels`. Whole paths
    are those without a touch and those with one, and their amounts.
    """
    steps = np.zeros((currencies, channels, channels + 1), dtype=np.int64)
    shares = np.zeros((currencies, channels + 1, channels), dtype=np.int64)
    shared = np.zeros((currencies, channels + 1, channels), dtype=np.int64)
    whole = np.zeros((currencies, 2, 2), dtype=np.int64)
    seen = np.full(channels, -1, dtype=np.int64)
    distinct = np.empty(channels, dtype=np.int64)
    for path in range(len(begin)):
        of = currency[path]
        touched = 1 if end[path] > begin[path] else 0
        whole[of, touched, 0] += 1
        whole[of, touched, 1] += amount[path]
        size = 0
        for place in range(begin[path], end[path]):
            here = channel[place]
            following = channel[place + 1] if place + 1 < end[path] else channels
            steps[of, here, following] += 1
            if seen[here] != path:
                seen[here] = path
                distinct[size] = here
                size += 1
        for place in range(size):
            shares[of, size, distinct[place]] += 1
            shared[of, size, distinct[place]] += amount[path]
    return steps, shares, shared, whole


def count_paths(
    timeline: pl.DataFrame, conversions: pl.DataFrame, paths: Paths, words: Words
) -> pl.DataFrame:
    """Count what the models over all paths need to know of conversions' paths and of those that ended without one.

    Returns:
        See `milepost.path_models.PATH_COUNTS`.
    """
    channel = timeline.get_column("channel").to_physical().to_numpy().astype(np.uint8)[paths.touches]
    failed = paths.open_end > paths.open_begin
    failures = np.zeros(int(failed.sum()), dtype=np.int64)
    money = conversions.get_column("currency").unique().drop_nulls().sort()
    codes = conversions.get_column("currency").cast(pl.Enum(money)).to_physical().cast(pl.Int64) + 1
    steps, shares, shared, whole = _count(
        channel,
        np.concatenate([paths.begin, paths.open_begin[failed]]),
        np.concatenate([paths.end, paths.open_end[failed]]),
        np.concatenate([codes.fill_null(0).to_numpy(), failures]),
        np.concatenate([conversions.get_column("amount_micros").to_numpy(), failures]),
        len(money) + 1,
        len(words.channel.categories),
    )
    names, currencies = words.channel.categories.to_list(), [None, *money]
    rows = [
        (
            currencies[of],
            step(names[here], names[there] if there < len(names) else None),
            steps[of, here, there],
            0,
        )
        for of, here, there in np.argwhere(steps).tolist()
    ]
    for of, size, here in np.argwhere(shares[1:]).tolist():
        at = of + 1, size, here
        rows.append((currencies[of + 1], share(size, names[here]), shares[at], shared[at]))
    for of, touched in np.argwhere(whole[1:, :, 0]).tolist():
        rows.append((currencies[of + 1], TOUCHED if touched else "", *whole[of + 1, touched]))
    return pl.DataFrame(rows, schema=PATH_COUNTS, orient="row")
