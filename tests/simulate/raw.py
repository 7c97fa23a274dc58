"""Runs the mappings of a simulated project by DuckDB alone."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import yaml

READERS = {
    "csv": "read_csv('{}', all_varchar = true, header = true)",
    "gz": "read_csv('{}', all_varchar = true, header = true)",
    "jsonl": "read_json('{}', format = 'newline_delimited')",
    "jsonl.gz": "read_json('{}', format = 'newline_delimited')",
    "parquet": "read_parquet('{}')",
}


def sources(project: Path) -> dict[str, dict[str, Any]]:
    listed: dict[str, dict[str, Any]] = yaml.safe_load((project / "milepost.yaml").read_text())["sources"]
    return listed


@lru_cache(maxsize=64)
def mapped(project: Path, name: str) -> pl.DataFrame:
    source = sources(project)[name]
    suffix = source["files"].rpartition("*.")[2]
    reader = READERS[suffix.removeprefix("csv.")].format(project / source["files"])
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TEMP VIEW raw AS SELECT * FROM {reader}")
        table = connection.sql((project / source["mapping"]).read_text(encoding="utf-8")).to_arrow_table()
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


@lru_cache(maxsize=8)
def touchpoints(project: Path) -> pl.DataFrame:
    """All touchpoints with the columns that every mapping yields, as delivered, and where they come from."""
    return pl.concat(
        [
            mapped(project, name)
            .select("kind", "occurred_at", "received_at", "native_id")
            .with_columns(pl.lit(source.get("system", name)).alias("system"))
            for name, source in sources(project).items()
            if source.get("fact", "touchpoint") == "touchpoint" and any(project.glob(source["files"]))
        ],
        how="vertical_relaxed",
    )
