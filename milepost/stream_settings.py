"""How the continuous pipeline works: its pace, its sizes, its ports."""

from __future__ import annotations

from pydantic import Field

from milepost.sources import Strict


class StreamSettings(Strict):
    """Settings of the continuous pipeline."""

    pace_seconds: float = Field(
        default=2.0, gt=0, le=3600, description="How long facts are gathered before they are published."
    )
    batch_facts: int = Field(
        default=20_000, ge=1, description="So many facts are published at once without waiting longer."
    )
    ingest_pace_seconds: float = Field(
        default=0.5, gt=0, le=60, description="How long raw records are gathered before they are mapped."
    )
    batch_records: int = Field(
        default=20_000, ge=1, description="So many raw records are mapped at once without waiting longer."
    )
    snapshot_seconds: float = Field(
        default=60.0,
        gt=0,
        description="How long `warehouse.duckdb` lies behind the publications at most, where the store is DuckDB; "
        "longer where a copy takes so long that copying would be more than a fifth of the time.",
    )
    facts_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Days for which Kafka keeps facts; for ever unless set. The store keeps them in any case.",
    )
    term_seconds: float = Field(
        default=1800.0,
        gt=0,
        description="How long one run of a Beam pipeline lasts before the next takes over where it ended: the "
        "in-process runner keeps a little of every bundle.",
    )
    kafka_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="Port of the Kafka that `milepost up` starts; 0 takes a free one and keeps it.",
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address of ingest's and stitch's `/metrics`; 0.0.0.0 for all."
    )
    ingest_metrics_port: int = Field(
        default=0, ge=0, le=65_535, description="Port of ingest's `/metrics`; 0 takes a free one."
    )
    stitch_metrics_port: int = Field(
        default=0, ge=0, le=65_535, description="Port of stitch's `/metrics`; 0 takes a free one."
    )
