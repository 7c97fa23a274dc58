"""The plain Beam peer: one dictionary an event, grouped by key, the same five tables as Parquet files.

`python -m benchmarks.beam_peer BUS_FOLDER OUTPUT_FOLDER`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.beam_steps import (
    ComponentsFn,
    FoldCustomers,
    KeepColumns,
    OwnerFirst,
    by_customer,
    first_delivery,
)
from benchmarks.compare import TABLES
from benchmarks.meter import Meter
from schemas.tables import Table, load_tables

_ARROW_TYPES = {
    "text": pa.string(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "credit": pa.decimal128(18, 12),
    "texts": pa.list_(pa.string()),
}


def _arrow_schema(table: Table) -> pa.Schema:
    return pa.schema([(column.name, _ARROW_TYPES[column.type]) for column in table.columns])


def run(bus: Path, output: Path) -> dict[str, float]:
    """Do the job and give CPU seconds; writes `OUTPUT/TABLE-….parquet`."""
    meter = Meter()
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        standing = (
            pipeline
            | "read" >> beam.io.ReadFromAvro(str(bus / "*.avro"))
            | "key by event" >> beam.Map(lambda event: (event["event_id"], event))
            | "group deliveries" >> beam.GroupByKey()
            | "first delivery" >> beam.Map(first_delivery)
            | "owner first" >> beam.ParDo(OwnerFirst())
        )
        customers = standing | "identifiers" >> beam.Keys() | "join" >> beam.CombineGlobally(ComponentsFn())
        rows = (
            standing
            | "key by customer" >> beam.Map(by_customer, beam.pvalue.AsSingleton(customers))
            | "group customers" >> beam.GroupByKey()
            | "fold" >> beam.ParDo(FoldCustomers()).with_outputs(*TABLES)
        )
        for name in TABLES:
            table = load_tables()[name]
            (
                rows[name]
                | f"columns of {name}" >> beam.ParDo(KeepColumns([column.name for column in table.columns]))
                | f"write {name}"
                >> beam.io.WriteToParquet(
                    str(output / name), _arrow_schema(table), file_name_suffix=".parquet"
                )
            )
    meter.lap("pipeline")
    return meter.laps


def main() -> None:
    """Run the peer from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bus", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"phases": run(arguments.bus, arguments.output)}))


if __name__ == "__main__":
    main()
