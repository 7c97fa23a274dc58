"""The DuckDB peer: runs `duckdb_peer.sql` in this process and says what each phase took.

`python -m benchmarks.duckdb_peer PARQUET_FOLDER DATABASE [--memory-limit 3GB]` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import duckdb

from benchmarks.meter import Meter
from schemas.vocabulary import load_vocabulary

SCRIPT = Path(__file__).with_name("duckdb_peer.sql")
_NO_STAGE = 99


def phases(script: str) -> list[tuple[str, str]]:
    """Split a script at its `-- phase: NAME` lines."""
    parts = re.split(r"^-- phase: (.+)$", script, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def create_words(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the temporary tables `kinds` and `stages` from the vocabulary."""
    vocabulary = load_vocabulary()
    rank = vocabulary.stage_rank
    connection.execute("CREATE TEMP TABLE stages (stage VARCHAR, rank INTEGER)")
    connection.executemany("INSERT INTO stages VALUES (?, ?)", list(rank.items()))
    connection.execute(
        "CREATE TEMP TABLE kinds (kind VARCHAR, stage VARCHAR, level INTEGER, stage_rank INTEGER,"
        " booked BOOLEAN, refunded BOOLEAN, links_only BOOLEAN, number INTEGER)"
    )
    connection.executemany(
        "INSERT INTO kinds VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                name,
                kind.stage,
                None if kind.stage is None else rank[kind.stage],
                _NO_STAGE if kind.stage is None else rank[kind.stage],
                kind.amount == "booked",
                kind.amount == "refunded",
                kind.links_only,
                number,
            )
            for number, (name, kind) in enumerate(vocabulary.kinds.items())
        ],
    )


def run(parquet: Path, database: Path, memory_limit: str | None = None) -> dict[str, float]:
    """Do the job and give CPU seconds by phase; the database file must not exist."""
    meter = Meter()
    with duckdb.connect(database) as connection:
        if memory_limit:
            connection.execute(f"SET memory_limit = '{memory_limit}'")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET VARIABLE events = ?", [str(parquet / "*.parquet")])
        create_words(connection)
        meter.lap("open")
        for name, statements in phases(SCRIPT.read_text(encoding="utf-8")):
            connection.execute(statements)
            meter.lap(name)
    meter.lap("close")
    return meter.laps


def main() -> None:
    """Run the peer from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parquet", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("--memory-limit")
    arguments = parser.parse_args()
    print(json.dumps({"phases": run(arguments.parquet, arguments.database, arguments.memory_limit)}))


if __name__ == "__main__":
    main()
