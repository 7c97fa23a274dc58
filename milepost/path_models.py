"""The models over all paths, `markov` and `shapley`, from counts of paths, exactly.

A path is the channels of its touches, joined by `PATH_SEPARATOR`. Everything is computed in integers and
fractions, so that a credit depends on no order, no machine and no rounding but the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import prod

import numpy as np
import polars as pl

from milepost.rules import Rules
from schemas.tables import CREDIT_SCALE, load_tables

#: What joins the channels of a path.
PATH_SEPARATOR = " > "
#: What begins and parts a count that is of no single path; no channel's name has it.
_MARK = "\x1f"
#: The paths with a touch, all together.
TOUCHED = f"{_MARK}touched"
#: The channel of a conversion without a touch.
NO_TOUCH = "(none)"

#: The units of a whole credit.
_ONE = 10**CREDIT_SCALE

#: What the models need to know of all paths, as counts that add up. `path` says of what: of a step (see `step`), of
#: a channel among so many (see `share`), of all paths with a touch (`TOUCHED`), of those without (empty), or of a
#: single path (its channels, joined by `PATH_SEPARATOR`). `currency` is null of paths that ended without a
#: conversion; `conversions` says how many paths, `amount_micros` what they booked.
PATH_COUNTS = pl.Schema(
    {"currency": pl.String(), "path": pl.String(), "conversions": pl.Int64(), "amount_micros": pl.Int64()}
)


def step(channel: str, following: str | None) -> str:
    """Name the steps from a channel to the one after it; None for the last of a path."""
    return _MARK.join(("", "step", channel, following or ""))


def share(channels: int, channel: str) -> str:
    """Name the paths with so many distinct channels that have this one."""
    return _MARK.join(("", "share", str(channels), channel))


def add_up(path_counts: pl.DataFrame) -> pl.DataFrame:
    """Add up counts of paths, those of single paths by what they consist of: a few rows however many the paths.

    Args:
        path_counts: see `PATH_COUNTS`; what is taken away has negative counts.

    Returns:
        The same, counts of 0 left out, in order.
    """
    single = ~pl.col("path").str.starts_with(_MARK) & (pl.col("path") != "")
    parts = [path_counts.filter(~single)]
    if parts[0].height < path_counts.height:
        parts += _parts_of(path_counts.filter(single))
    return (
        pl.concat([part.select(list(PATH_COUNTS)) for part in parts], how="vertical_relaxed")
        .group_by("currency", "path")
        .agg(pl.col("conversions").sum(), pl.col("amount_micros").sum())
        .filter(pl.col("conversions") != 0)
        .sort("currency", "path")
    )


def _parts_of(paths: pl.DataFrame) -> list[pl.DataFrame]:
    """Give the steps and shares of single paths, and the paths themselves as `TOUCHED`."""
    touches = (
        paths.with_row_index("path_row")
        .with_columns(pl.col("path").str.split(PATH_SEPARATOR).alias("channel"))
        .explode("channel")
        .with_columns(
            pl.when(pl.col("path_row") == pl.col("path_row").shift(-1))
            .then(pl.col("channel").shift(-1))
            .fill_null("")
            .alias("next")
        )
    )
    channels = (
        touches.filter(pl.col("currency").is_not_null())
        .unique(["path_row", "channel"])
        .with_columns(pl.len().over("path_row").alias("channels"))
    )
    of_step = pl.concat_str(pl.lit(f"{_MARK}step{_MARK}"), "channel", pl.lit(_MARK), "next")
    of_channel = pl.concat_str(pl.lit(f"{_MARK}share{_MARK}"), "channels", pl.lit(_MARK), "channel")
    return [
        touches.with_columns(of_step.alias("path"), pl.lit(0, pl.Int64).alias("amount_micros")),
        channels.with_columns(of_channel.alias("path")),
        paths.filter(pl.col("currency").is_not_null()).with_columns(pl.lit(TOUCHED).alias("path")),
    ]


def channel_credits(path_counts: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Credit channels for conversions and booked money, by currency.

    Args:
        path_counts: see `PATH_COUNTS`; several rows of one path add up.
        rules: Says which models to compute.

    Returns:
        The table `channel_credits`, ordered by its key. The credits of a model and currency sum to the
        conversions, the amounts to the booked money, exactly.

    Raises:
        OverflowError: A credit exceeds what the table's column holds.
    """
    models: dict[str, _Model] = {"markov": _markov, "shapley": _shapley}
    asked = {name: model for name, model in models.items() if name in rules.models}
    if not asked:
        return _table([])
    counts = add_up(path_counts)
    touches = _Touches(counts, _totals(counts, TOUCHED))
    untouched = _totals(counts, "")
    rows: list[_Row] = []
    for name, model in asked.items():
        rows += [
            _Row(name, currency, NO_TOUCH, _ONE * total.conversions, total.amount_micros)
            for currency, total in untouched.items()
        ]
        rows += [_Row(name, *credited) for credited in model(touches)]
    return _table(rows)


@dataclass(frozen=True)
class _Total:
    conversions: int
    amount_micros: int


@dataclass(frozen=True)
class _Touches:
    """The touches of all paths, as added up counts, and the totals of the conversions with a touch by currency."""

    counts: pl.DataFrame
    totals: dict[str, _Total]

    def of(self, kind: str, one: str, other: str) -> pl.DataFrame:
        """Give the counts of a kind, with the two columns that their names have."""
        begin = f"{_MARK}{kind}{_MARK}"
        named = pl.col("path").str.strip_prefix(begin).str.split_exact(_MARK, 1).struct
        return self.counts.filter(pl.col("path").str.starts_with(begin)).with_columns(
            named.field("field_0").alias(one), named.field("field_1").alias(other)
        )


#: Currency, channel, credit in units of `_ONE`, amount.
_Credited = tuple[str, str, int, int]
_Model = Callable[[_Touches], list[_Credited]]


@dataclass(frozen=True, order=True)
class _Row:
    model: str
    currency: str
    channel: str
    credit: int
    amount_micros: int


def _table(rows: Sequence[_Row]) -> pl.DataFrame:
    schema = load_tables()["channel_credits"].polars_schema
    ordered = sorted(rows)
    exact = [Decimal(row.credit).scaleb(-CREDIT_SCALE) for row in ordered]
    try:
        credit = pl.Series("credit", exact, dtype=schema["credit"])
    except pl.exceptions.InvalidOperationError as error:
        raise OverflowError(
            f"channel_credits: a credit of {max(exact)} exceeds the column's {schema['credit']}"
        ) from error
    return pl.DataFrame(
        {
            "model": [row.model for row in ordered],
            "currency": [row.currency for row in ordered],
            "channel": [row.channel for row in ordered],
            "credit": credit,
            "amount_micros": [row.amount_micros for row in ordered],
        },
        schema=schema,
    )


def _totals(counts: pl.DataFrame, path: str) -> dict[str, _Total]:
    """Give conversions and amounts by currency, failed paths aside."""
    converted = counts.filter(pl.col("currency").is_not_null(), pl.col("path") == path)
    totals = converted.select("currency", "conversions", "amount_micros")
    return {currency: _Total(conversions, amount) for currency, conversions, amount in totals.iter_rows()}


def _markov(touches: _Touches) -> list[_Credited]:
    """Share conversions and amounts in proportion to what removing each channel would lose."""
    steps = touches.of("step", "channel", "next")
    failed = steps.filter(pl.col("currency").is_null())
    credited: list[_Credited] = []
    for currency, total in touches.totals.items():
        converted = steps.filter(pl.col("currency") == currency)
        weights = _rounded_shares(_removal_effects(converted, failed))
        of_credit = _split(total.conversions * _ONE, list(weights.values()))
        of_amount = _split(total.amount_micros, list(weights.values()))
        credited += [
            (currency, channel, credit, amount)
            for channel, credit, amount in zip(weights, of_credit, of_amount, strict=True)
        ]
    return credited


def _removal_effects(converted: pl.DataFrame, failed: pl.DataFrame) -> dict[str, tuple[int, int]]:
    """Give each channel's removal effect, times a factor common to all, as numerator and denominator.

    With v the visits of each channel, n the steps between channels and w the steps to conversion, all counted
    over all paths, let K be the inverse of diag(v) - n. The chain's expected visits are N = K diag(v), so the
    probability of converting from channel c is h_c = (K w)_c, and that of ever reaching c from the start is
    visits by a path / N_cc = 1 / (paths K_cc), because the chain that counts give has the visits that
    were counted. Removing c loses what passes through it: h_c / (paths K_cc). So one inverse gives all
    effects, and a fraction-free one gives them exactly.

    An effect of a channel that conversions end with is above 0: there is always something to share by.
    """
    channels = sorted(set(converted["channel"]) | set(failed["channel"]))
    place = {channel: index for index, channel in enumerate(channels)}
    matrix = np.zeros((len(channels), len(channels)), dtype=object)
    to_conversion = np.zeros(len(channels), dtype=object)
    for steps, ends in ((converted, to_conversion), (failed, None)):
        for channel, following, count in steps.select("channel", "next", "conversions").iter_rows():
            matrix[place[channel], place[channel]] += count
            if following:
                matrix[place[channel], place[following]] -= count
            elif ends is not None:
                ends[place[channel]] += count
    adjugate = _adjugate(matrix)
    converting = adjugate @ to_conversion
    return {channel: (converting[index], adjugate[index, index]) for channel, index in place.items()}


def _adjugate(
    matrix: np.ndarray[tuple[int, int], np.dtype[np.object_]],
) -> np.ndarray[tuple[int, int], np.dtype[np.object_]]:
    """Give the inverse of an integer matrix times its determinant, by integer pivoting (Edmonds, Bareiss).

    Every division is exact. The matrix has rows that sum to at least 0 and leave every channel some day, so
    its leading minors are above 0 and no pivot is 0.
    """
    result = matrix.copy()
    previous = 1
    for pivot_row in range(len(result)):
        row, column = result[pivot_row].copy(), result[:, pivot_row].copy()
        pivot = row[pivot_row]
        result = (result * pivot - np.outer(column, row)) // previous
        result[pivot_row] = -row
        result[:, pivot_row] = column
        result[pivot_row, pivot_row] = previous
        previous = pivot
    return result


def _rounded_shares(ratios: dict[str, tuple[int, int]]) -> dict[str, int]:
    """Give each ratio's share of their sum in units of `_ONE`, rounded half-even; shares of 0 are left out."""
    common = prod(denominator for _, denominator in ratios.values())
    weights = {
        channel: numerator * (common // denominator) for channel, (numerator, denominator) in ratios.items()
    }
    total = sum(weights.values())
    shares = {}
    for channel, weight in weights.items():
        share, rest = divmod(weight * _ONE, total)
        shares[channel] = share + (2 * rest > total or (2 * rest == total and share % 2 == 1))
    return {channel: share for channel, share in shares.items() if share > 0}


def _shapley(touches: _Touches) -> list[_Credited]:
    """Share each conversion and its amount equally over the distinct channels of its path."""
    sums = touches.of("share", "channels", "channel").sort("currency", "channel")
    credited: list[_Credited] = []
    for currency in touches.totals:
        counts: dict[str, Fraction] = {}
        amounts: dict[str, Fraction] = {}
        of_currency = sums.filter(pl.col("currency") == currency)
        for channel, size, conversions, amount in of_currency.select(
            "channel", "channels", "conversions", "amount_micros"
        ).iter_rows():
            channels = int(size)
            counts[channel] = counts.get(channel, Fraction()) + Fraction(conversions * _ONE, channels)
            amounts[channel] = amounts.get(channel, Fraction()) + Fraction(amount, channels)
        credited += [
            (currency, channel, credit, amount)
            for channel, credit, amount in zip(
                counts,
                _round_to_sum(list(counts.values())),
                _round_to_sum(list(amounts.values())),
                strict=True,
            )
        ]
    return credited


def _split(total: int, weights: Sequence[int]) -> list[int]:
    """Split a total in proportion to the weights, by largest remainder."""
    sum_of_weights = sum(weights)
    return _round_to_sum([Fraction(total * weight, sum_of_weights) for weight in weights])


def _round_to_sum(shares: Sequence[Fraction]) -> list[int]:
    """Round shares to integers with the same sum, by largest remainder; of equal ones the first gains."""
    floors = [share.numerator // share.denominator for share in shares]
    left_over = int(sum(shares) - sum(floors))
    gains = sorted(range(len(shares)), key=lambda place: floors[place] - shares[place])[:left_over]
    return [floor + (place in gains) for place, floor in enumerate(floors)]
