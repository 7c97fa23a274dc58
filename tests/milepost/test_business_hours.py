"""The end of a service level."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from milepost.business_hours import due_at
from milepost.rules import ServiceLevel

EVERY_DAY = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def due(offered: str, **level: Any) -> str:
    offered_at = pl.Series("offered", [datetime.fromisoformat(offered).replace(tzinfo=UTC)])
    answer = due_at(offered_at, ServiceLevel(**level))
    assert answer.dtype == pl.Datetime("us", "UTC")
    return str(answer[0].replace(tzinfo=None).isoformat())


@pytest.mark.parametrize(
    ("offered", "hours", "expected"),
    [
        # 2024-01-01 is a Monday; business is from 9 to 17 UTC.
        ("2024-01-01T10:00:00", 2, "2024-01-01T12:00:00"),
        ("2024-01-01T10:00:00", 7, "2024-01-01T17:00:00"),
        ("2024-01-01T10:00:00.000001", 7, "2024-01-02T09:00:00.000001"),
        ("2024-01-01T10:00:00", 8, "2024-01-02T10:00:00"),
        ("2024-01-01T08:00:00", 8, "2024-01-01T17:00:00"),
        ("2024-01-01T09:00:00", 8, "2024-01-01T17:00:00"),
        ("2024-01-01T17:00:00", 8, "2024-01-02T17:00:00"),
        ("2024-01-01T23:59:59", 1, "2024-01-02T10:00:00"),
        ("2024-01-05T16:00:00", 2, "2024-01-08T10:00:00"),
        ("2024-01-06T12:00:00", 1, "2024-01-08T10:00:00"),
        ("2024-01-01T10:00:00", 40, "2024-01-08T10:00:00"),
        ("2024-01-01T10:00:00", 0.5, "2024-01-01T10:30:00"),
        ("1969-12-31T16:00:00", 2, "1970-01-01T10:00:00"),
        ("2024-01-02T08:00:00", 1e-12, "2024-01-02T09:00:00.000001"),
    ],
)
def test_hours_count_while_business_is_open(offered: str, hours: float, expected: str) -> None:
    assert due(offered, hours=hours) == expected


def test_holidays_are_no_business_days() -> None:
    holidays = (date(2024, 1, 2), date(2024, 1, 3))
    assert due("2024-01-01T16:00:00", hours=2, holidays=holidays) == "2024-01-04T10:00:00"
    assert due("2024-01-02T12:00:00", hours=2, holidays=holidays) == "2024-01-04T11:00:00"


def test_hours_are_those_of_the_zone_before_and_after_its_clocks_change() -> None:
    # Berlin opens at 8 UTC in winter and at 7 UTC in summer; clocks change on Sunday, 2024-03-31.
    assert due("2024-03-29T15:00:00", hours=2, zone="Europe/Berlin") == "2024-04-01T08:00:00"
    assert due("2024-10-25T14:00:00", hours=2, zone="Europe/Berlin") == "2024-10-28T09:00:00"


def test_the_day_is_that_of_the_zone() -> None:
    # Friday evening in New York is Saturday in UTC; Monday in Auckland is Sunday in UTC.
    assert due("2024-01-06T01:00:00", hours=1, zone="America/New_York", closes=24) == "2024-01-06T02:00:00"
    assert due("2024-01-07T21:00:00", hours=1, zone="Pacific/Auckland") == "2024-01-07T22:00:00"


def test_an_opening_that_clocks_skip_is_when_they_go_forward() -> None:
    # On 2024-03-31 Berlin's clocks go from 2 to 3, at 1 UTC; in Lord Howe from 2 to 2:30 on 2024-10-06, at 15:30 UTC.
    level = {"opens": 2, "closes": 12, "days": EVERY_DAY}
    assert due("2024-03-31T00:00:00", hours=1, zone="Europe/Berlin", **level) == "2024-03-31T02:00:00"
    assert due("2024-10-05T14:00:00", hours=1, zone="Australia/Lord_Howe", **level) == "2024-10-05T16:30:00"


def test_an_opening_that_clocks_show_twice_is_the_earlier() -> None:
    # On 2024-10-27 Berlin's clocks show 2 o'clock at 0 and at 1 UTC.
    level = {"opens": 2, "closes": 12, "days": EVERY_DAY, "zone": "Europe/Berlin"}
    assert due("2024-10-26T23:00:00", hours=1, **level) == "2024-10-27T01:00:00"


def test_a_night_shift_in_which_clocks_change_counts_hours_that_pass() -> None:
    level = {"opens": 0, "closes": 24, "days": EVERY_DAY, "zone": "Europe/Berlin"}
    assert due("2024-03-30T20:00:00", hours=8, **level) == "2024-03-31T04:00:00"


def test_many_offers_keep_their_order() -> None:
    offers = pl.Series("offered", [datetime(2024, 1, day, 10, tzinfo=UTC) for day in (3, 1, 2)])
    assert [when.day for when in due_at(offers, ServiceLevel(hours=1))] == [3, 1, 2]


@pytest.mark.parametrize("level", [{"days": ()}, {"opens": 17, "closes": 9}, {"opens": 9, "closes": 9}])
def test_a_service_level_without_business_hours_is_refused(level: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="business"):
        ServiceLevel(**level)


@pytest.mark.parametrize("level", [{"days": ("Foo",)}, {"zone": "Europe/Nowhere"}])
def test_unknown_words_are_named(level: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Foo|Nowhere"):
        due("2024-01-01T00:00:00", **level)


def test_no_offers() -> None:
    empty = pl.Series("offered", [], dtype=pl.Datetime("us", "UTC"))
    assert due_at(empty, ServiceLevel()).dtype == pl.Datetime("us", "UTC")
