"""Collects what happens in a simulated market, block by block, as one columnar frame."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from milepost.simulate.world import END, Integers

#: Everything that a block of happenings may say. `person` and `account` are indices into the world (-1: none),
#: `at` is a second since 1970, `amount` is in cents, `deal` is the number that every system uses for a deal (a
#: refund's is the one that it pays back), `campaign_channel` names the channel whose campaign of the quarter made
#: the touch, `where` says which of several places recorded it.
COLUMNS: Mapping[str, pl.DataType] = {
    "person": pl.Int64(),
    "kind": pl.String(),
    "at": pl.Int64(),
    "account": pl.Int64(),
    "campaign_channel": pl.String(),
    "content": pl.String(),
    "amount": pl.Int64(),
    "currency": pl.String(),
    "deal": pl.String(),
    "booking_number": pl.Int64(),
    "opportunity": pl.String(),
    "opportunity_stage": pl.String(),
    "subscription": pl.String(),
    "owner": pl.String(),
    "reason": pl.String(),
    "products": pl.String(),
    "score": pl.Int64(),
    "where": pl.String(),
}


class Ledger:
    """What happened, in the order in which it was written down."""

    def __init__(self) -> None:
        self._blocks: list[pl.DataFrame] = []

    def add(
        self, kind: str, person: Integers, at: Integers, **more: Integers | pl.Series | str | int
    ) -> None:
        """Write down that `kind` happened to each person at each second; what lies after the end has not happened."""
        values: dict[str, pl.Series] = {}
        for name, value in more.items():
            if isinstance(value, str | int):
                values[name] = pl.repeat(value, len(person), dtype=COLUMNS[name], eager=True)
            else:
                values[name] = pl.Series(name, value).cast(COLUMNS[name])
        block = pl.DataFrame({"person": person, "at": at, **values}).filter(pl.col("at") < END)
        missing = [
            pl.lit(-1 if name == "account" else None, dtype=kind_of).alias(name)
            for name, kind_of in COLUMNS.items()
            if name not in block.columns and name != "kind"
        ]
        self._blocks.append(block.with_columns(pl.lit(kind).alias("kind"), *missing).select(list(COLUMNS)))

    def frame(self) -> pl.DataFrame:
        """Give all of it as one frame with the columns of `COLUMNS`."""
        return pl.concat([pl.DataFrame(schema=dict(COLUMNS)), *self._blocks])


def poisson_times(
    rng: np.random.Generator, people: Integers, start: Integers, stop: Integers, mean: float
) -> tuple[Integers, Integers]:
    """Scatter a Poisson number of moments over each person's window; gives person and second of each.

    `people`, `start` and `stop` are of one length; windows that end before they start are empty.
    """
    counts = rng.poisson(mean, size=len(people))
    counts[stop <= start] = 0
    person = np.repeat(people, counts)
    first, last = np.repeat(start, counts), np.repeat(stop, counts)
    return person, first + (rng.random(len(person)) * (last - first)).astype(np.int64)


def pick(rng: np.random.Generator, words: tuple[str, ...], count: int) -> pl.Series:
    """Draw words evenly."""
    return pl.Series(words, dtype=pl.String).gather(rng.integers(0, len(words), count))
