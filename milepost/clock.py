"""The one place where the present is read; everything else takes it as an argument."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """Give the present in UTC, to the microsecond."""
    return datetime.now(tz=UTC)
