"""The folding job by Milepost's fold alone: `… BOOTSTRAP TOPIC EVENTS STATE_FOLDER` prints JSON.

It is read from Kafka in lists and folded in columns; all at once, as the stitch folds all that a batch touches.
"""

from __future__ import annotations

import io
import json
import sys
import time

import numpy as np
import polars as pl

from connectors.kafka.consumer import Consumer
from connectors.kafka.settings import KafkaSettings
from milepost.stages import NONE, Folds, fold

#: A first small fold takes compiled code from its cache: a process that keeps running does that once.
_WARM = pl.DataFrame(
    {"subject": [0], "occurred_at": [0], "stage_code": [0], "conversion": [0]},
    schema={"subject": pl.Int32, "occurred_at": pl.Int64, "stage_code": pl.Int8, "conversion": pl.Int8},
)
_AT_ONCE = 100_000


def read(settings: KafkaSettings, topic: str) -> pl.DataFrame:
    """Read a topic to its end: `customer`, `at`, `stage`, `conversion`."""
    schema = {"customer": pl.String, "at": pl.Int64, "stage": pl.Int64, "conversion": pl.Int64}
    frames = []
    with Consumer(settings) as consumer:
        partitions = consumer.partitions(topic)
        ends = consumer.end_offsets(partitions)
        consumer.assign(consumer.beginning_offsets(partitions))
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for batch in consumer.poll(_AT_ONCE, 1.0):
                lines = b"\n".join(value or b"" for value in batch.values.to_list())
                frames.append(pl.read_ndjson(io.BytesIO(lines), schema=schema))
    return pl.concat(frames)


def folded(events: pl.DataFrame) -> Folds:
    """Fold the events of all customers."""
    numbered = events.with_columns(pl.col("customer").rank("dense").cast(pl.Int32).alias("subject") - 1)
    touches = numbered.sort("subject", "at", maintain_order=True).select(
        "subject",
        occurred_at="at",
        stage_code=pl.col("stage").cast(pl.Int8),
        conversion=pl.col("conversion").cast(pl.Int8),
    )
    return fold(touches, int(touches.get_column("subject").max() or 0) + 1)  # type: ignore[arg-type]


def checksum(folds: Folds) -> list[int]:
    """Sum states up as `fold_rule.checksum` does."""
    converted = np.where(folds.converted_at == NONE, -1, folds.converted_at)
    columns = (
        folds.current,
        folds.furthest,
        converted,
        folds.first_touch_at,
        folds.last_touch_at,
        folds.touches,
    )
    return [len(folds.touches), *(sum(column.tolist()) for column in columns)]


def main(bootstrap: str, topic: str, events: str, _folder: str) -> None:
    """Run the job over all events of the topic."""
    fold(_WARM, 1)
    cpu, wall = time.process_time(), time.monotonic()
    read_events = read(KafkaSettings(bootstrap_servers=(bootstrap,)), topic)
    if read_events.height != int(events):
        raise SystemExit("not all events were read")
    folds = folded(read_events)
    used = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.monotonic() - wall}
    print(json.dumps({**used, "checksum": checksum(folds)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
