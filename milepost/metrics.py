"""What the continuous pipeline tells Prometheus. Counters start at 0 with the process; a restart is a reset."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

RECORDS = Counter(
    "milepost_records",
    "Raw records by what became of them: received = mapped + filtered + rejected.",
    ("source", "fate"),
    registry=REGISTRY,
)
FACTS = Counter(
    "milepost_facts",
    "Facts by what became of them, as ingest (written, rejected) and stitch (accepted, duplicate, …) count them.",
    ("source", "fate"),
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "milepost_dead_letters", "Inputs that a step rejected.", ("source", "step"), registry=REGISTRY
)
LAG = Gauge(
    "milepost_lag_records",
    "Messages on the topic's partition that are not read yet.",
    ("topic", "partition"),
    registry=REGISTRY,
)
PUBLICATIONS = Counter(
    "milepost_publications", "Publications by result: published, withheld.", ("result",), registry=REGISTRY
)
for _result in ("published", "withheld"):
    PUBLICATIONS.labels(_result)
PUBLISHED_AT = Gauge(
    "milepost_last_publication_timestamp_seconds", "When the last publication was made.", registry=REGISTRY
)
FRESHNESS = Histogram(
    "milepost_freshness_seconds",
    "From a fact's arrival to its publication, one observation per fact of a live stream.",
    buckets=(0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 30, 60, 120, 300, 900, 3600),
    registry=REGISTRY,
)
SECONDS = Counter(
    "milepost_stitch_seconds",
    "Seconds of work by step of the stitch: decode, fold, warehouse, audit, store, commit, done, announce, snapshot.",
    ("step", "clock"),
    registry=REGISTRY,
)
FILES_WAITING = Gauge(
    "milepost_bus_files_waiting",
    "Files of facts on the bus that the stitch has not taken up, such as those of a backfill.",
    registry=REGISTRY,
)
PARKED = Gauge(
    "milepost_parked_facts",
    "Facts set aside because an audit withheld them; the rest was published.",
    registry=REGISTRY,
)
UNIT_FACTS = Histogram(
    "milepost_unit_facts",
    "Facts of the largest unit of work that a batch touched: a very large one slows every batch.",
    buckets=(1, 10, 100, 1_000, 10_000, 100_000, 1_000_000),
    registry=REGISTRY,
)

#: Counts of ingest, as `pipelines.ingest_report` names them, and where they go.
_RECORD_FATES = {"read": "received", "mapped": "mapped", "filtered": "filtered", "rejected": "rejected"}


def count_ingest(source: str, counts: Mapping[str, int]) -> None:
    """Add what ingest counted of a source; see `pipelines.ingest_report.SourceFates`."""
    for name, count in counts.items():
        if name in _RECORD_FATES:
            RECORDS.labels(source, _RECORD_FATES[name]).inc(count)
        elif name.startswith("fact_rejects."):
            FACTS.labels(source, "rejected").inc(count)
        elif name.startswith("yielded."):
            FACTS.labels(source, "yielded").inc(count)
