"""Dead letters of the stitch: what it rejects, and what the audit sets aside."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import polars as pl

from connectors.bus import DEAD_LETTERS, Bus
from connectors.dead_letters import Place, Reject, dead_letters
from milepost.clock import now
from pipelines.stitch_publish import StitchReport
from schemas.contracts import frame_schema


def stitch_letters(bus: Bus, report: StitchReport) -> pl.DataFrame:
    """Make dead letters (columns of `dead_letter.avsc`) of what a stitch rejects and an audit sets aside."""
    return pl.concat([pl.DataFrame(schema=frame_schema(DEAD_LETTERS)), *_letters(bus, report)])


def _letters(bus: Bus, report: StitchReport) -> Iterator[pl.DataFrame]:
    for row in report.rejected.iter_rows(named=True):
        place = Place(row["source"], "stitch", f"bus, source {row['source']}", micros(row["received_at"]))
        reject = Reject(row["error_class"], row["reason"], row["payload"].encode())
        yield dead_letters([reject], place, bus.raw_zone)
    for row in report.quarantined.iter_rows(named=True):
        place = Place(row["source"], "audit", f"bus, {row['fact_type']} {row['event_id']}", micros(now()))
        reject = Reject(row["expectation"], row["reason"], row["event_id"].encode())
        yield dead_letters([reject], place, bus.raw_zone)


def micros(moment: datetime) -> int:
    """Give a moment in microseconds since 1970, UTC."""
    return int(moment.timestamp() * 1_000_000)
