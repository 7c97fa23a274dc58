"""The end of a service level, counted in business hours."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from milepost.rules import ServiceLevel

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def due_at(offered_at: pl.Series, level: ServiceLevel) -> pl.Series:
    """Give the instant at which the service level after each offer ends.

    An offer outside of business hours counts from the next opening; a due time at the end of a day is that day's
    closing. Opening and closing are times that the zone's clocks show: one that they show twice is the earlier, one
    that they skip is the instant at which they go forward. Between the two, hours are hours that pass.

    Args:
        offered_at: Datetime("us", "UTC"), without NULL.
        level: Hours, zone, opening, closing, days and holidays.

    Returns:
        Datetime("us", "UTC") in the order of the input; NULL where the service level has no business hours.

    Raises:
        ValueError: The zone or a day is unknown.
    """
    if offered_at.is_empty() or not level.days or level.opens >= level.closes:
        return pl.Series(offered_at.name, [None] * len(offered_at), dtype=pl.Datetime("us", "UTC"))
    # At least one microsecond, so that nothing is due at the closing before it was offered.
    wanted = max(timedelta(hours=level.hours) // timedelta(microseconds=1), 1)
    offered = offered_at.to_physical().to_numpy()
    offered_on = _local_days(offered_at, level.zone)
    days = _business_days(offered_on, wanted, level)
    opening = _instants(days, level.opens, level.zone)
    # Clocks that skip a day may close it before they open it.
    lengths = np.maximum(_instants(days, level.closes, level.zone) - opening, 0)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    day = np.searchsorted(days, offered_on)
    worked = starts[day] + np.clip(offered - opening[day], 0, lengths[day])
    due_day = np.searchsorted(ends, worked + wanted)
    due = opening[due_day] + worked + wanted - starts[due_day]
    return pl.Series(offered_at.name, due).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _local_days(instants: pl.Series, zone: str) -> NDArray[np.int64]:
    """Give the days (since 1970-01-01) that the zone's calendars show."""
    try:
        local = instants.dt.convert_time_zone(zone)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"service_level: unknown time zone {zone!r}; name one like Europe/Berlin") from error
    days: NDArray[np.int64] = local.dt.date().to_physical().to_numpy().astype(np.int64)
    return days


def _business_days(offered_on: NDArray[np.int64], wanted: int, level: ServiceLevel) -> NDArray[np.int64]:
    """Give all business days from the first offer to beyond the last due time."""
    try:
        calendar = np.busdaycalendar(
            weekmask=" ".join(level.days), holidays=[np.datetime64(day, "D") for day in level.holidays]
        )
    except ValueError as error:
        days = ", ".join(level.days)
        raise ValueError(
            f"service_level: unknown days in {days}; they are Mon, Tue, Wed, Thu, Fri, Sat, Sun"
        ) from error
    # Twice as many as the hours take, and some: days on which clocks go forward are shorter.
    more = 2 * (wanted // ((level.closes - level.opens) * _HOUR)) + 10
    last = np.busday_offset(
        offered_on.max().astype("datetime64[D]"), more, roll="forward", busdaycal=calendar
    )
    days_between = np.arange(offered_on.min(), last.astype(np.int64) + 1)
    return days_between[np.is_busday(days_between.astype("datetime64[D]"), busdaycal=calendar)]


def _instants(days: NDArray[np.int64], hour: int, zone: str) -> NDArray[np.int64]:
    """Give the instants (microseconds since 1970 UTC) at which the zone's clocks show the hour on the days."""
    shown = days * _DAY + hour * _HOUR
    while True:
        local = pl.Series(shown).cast(pl.Datetime("us"))
        instants = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        skipped = instants.is_null().to_numpy()
        if not skipped.any():
            micros: NDArray[np.int64] = instants.to_physical().to_numpy()
            return micros
        shown = shown + skipped * _MINUTE
