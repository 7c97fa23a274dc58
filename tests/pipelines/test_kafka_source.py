"""The Kafka source by itself, without Kafka."""

from __future__ import annotations

from apache_beam.io.watermark_estimators import ManualWatermarkEstimator

from pipelines.kafka_source import _advance


def test_the_watermark_never_goes_back() -> None:
    """A poll may bring an older part of a backlog than the one before, and clocks may be a day off."""
    watermark = ManualWatermarkEstimator(None)
    told = []
    for milliseconds in (1_000_299, 1_000_225, 0, 1_000_300, 914_000_300):
        _advance(watermark, milliseconds)
        told.append(watermark.current_watermark().micros // 1000)
    assert told == [1_000_299, 1_000_299, 1_000_299, 1_000_300, 914_000_300]
