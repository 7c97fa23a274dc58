"""The store in the database: schemas `facts` and `work`, which nobody reads but the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import polars as pl

from milepost.units import node_hash
from schemas.contracts import FACT_TYPES, avro_schema
from warehouse.postgres.session import Session, comments, create_table
from warehouse.store import (
    OUTBOX,
    PATH_COUNTS,
    STORE_VERSION,
    Offsets,
    UInt64Array,
    fact_columns,
    newer_store,
)

_MARK_DOCS = {
    "unit": "The unit of work: facts that share one are folded together.",
    "key": "A hash of event_id, by which the fact is looked up.",
    "mapping_version": "The mapping that made it, where it came by stream; NULL where a file of the bus says it.",
}

_NODES = {"node": pl.UInt64(), "unit": pl.UInt64()}
_OFFSETS = {"topic": pl.String(), "partition": pl.Int64(), "next_offset": pl.Int64()}
_STITCHED = {"file": pl.String()}

#: Rows that change in place stay on their page where there is room.
_ROOM = "WITH (fillfactor = 85)"

_STATE = 'CREATE TABLE IF NOT EXISTS work.state (name text COLLATE "C" PRIMARY KEY, value text)'

#: What units and facts are looked up by, and nothing else: (table, column).
_LOOKUPS = (
    *((f"facts.{name}", column) for name in FACT_TYPES for column in ("unit", "key")),
    ("work.nodes", "node"),
    ("work.nodes", "unit"),
)


def _index_name(table: str, column: str) -> str:
    return f"{table.replace('.', '_')}_{column}"


def _create_indexes() -> list[str]:
    return [f"CREATE INDEX IF NOT EXISTS {_index_name(*one)} ON {one[0]} ({one[1]})" for one in _LOOKUPS]


def _fact_statements(name: str) -> list[str]:
    schema = avro_schema(name)
    docs = {field["name"]: field.get("doc", "") for field in schema["fields"]} | _MARK_DOCS
    columns = fact_columns(name)
    described = [(column, docs[column]) for column in columns]
    return [
        create_table(f"facts.{name}", columns, _ROOM),
        *comments(f"facts.{name}", schema["doc"], described),
    ]


def _work_statements() -> list[str]:
    outbox = ", ".join(f'{name} text COLLATE "C"' for name in ("customer_id", "publication_id"))
    return [
        create_table("work.nodes", _NODES, _ROOM),
        *comments(
            "work.nodes",
            "What facts name, and the unit of work that it belongs to.",
            [("node", "A hash of the name."), ("unit", "The unit of work.")],
        ),
        create_table("work.path_counts", PATH_COUNTS),
        *comments(
            "work.path_counts",
            "Paths to a conversion over all subjects, which the credits of channels follow from.",
            [
                ("currency", "The conversions' currency."),
                ("path", "The channels on the way, in order."),
                ("conversions", "How many conversions."),
                ("amount_micros", "Booked money in millionths of the currency's unit."),
            ],
        ),
        create_table("work.stitched", _STITCHED),
        *comments("work.stitched", "Bus files whose facts are in the store.", [("file", "Its name.")]),
        'CREATE TABLE IF NOT EXISTS work.offsets (topic text COLLATE "C", partition bigint, next_offset bigint,'
        " PRIMARY KEY (topic, partition))",
        *comments(
            "work.offsets",
            "How far topics are in the store.",
            [
                ("topic", "The topic."),
                ("partition", "The partition."),
                ("next_offset", "The first message whose facts are not in the store."),
            ],
        ),
        f"CREATE TABLE IF NOT EXISTS work.outbox (sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {outbox})",
        *comments(
            "work.outbox",
            "Customers whose journeys changed, until that is told.",
            [
                ("sequence", "The order in which it was published."),
                ("customer_id", "The customer."),
                ("publication_id", "The publication that changed the journey, or took it away."),
            ],
        ),
        *comments(
            "work.state", "Values that runs leave.", [("name", "Its name."), ("value", "What was left.")]
        ),
    ]


class PostgresStore:
    """A store in a PostgreSQL database; see `warehouse.store.Store`."""

    def __init__(self, session: Session) -> None:
        """Use the store of a session's database, creating it where there is none.

        Raises `StoreVersionError` where a newer Milepost wrote it.
        """
        self.session = session
        with self.transaction():
            self._bring_up_to_date()

    def _bring_up_to_date(self) -> None:
        found = self.session.rows("SELECT to_regclass('work.state')::text")
        version = int(self.state("version") or 0) if found[0][0] else 0
        if version > STORE_VERSION:
            raise newer_store(self.session.name, version, "use another database")
        if version == STORE_VERSION:
            return
        statements = [
            "CREATE SCHEMA IF NOT EXISTS facts",
            "COMMENT ON SCHEMA facts IS 'The facts that stand. Private to the pipeline.'",
            "CREATE SCHEMA IF NOT EXISTS work",
            "COMMENT ON SCHEMA work IS 'What the pipeline has done so far. Private to it.'",
            _STATE,
            *(statement for name in FACT_TYPES for statement in _fact_statements(name)),
            *_work_statements(),
            *_create_indexes(),
        ]
        for statement in statements:
            self.session.execute(statement)
        self.set_state("version", str(STORE_VERSION))

    def close(self) -> None:
        """Let go of the database."""
        self.session.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Make what is done inside happen whole, or not at all; inside another one, it is part of that."""
        return self.session.transaction()

    # What was done so far

    def state(self, name: str) -> str | None:
        """Give a value that a run left."""
        rows = self.session.rows("SELECT value FROM work.state WHERE name = $1", name)
        return rows[0][0] if rows else None

    def set_state(self, name: str, value: str | None) -> None:
        """Leave a value for later runs; None takes it away."""
        if value is None:
            self.session.execute("DELETE FROM work.state WHERE name = $1", name)
        else:
            self.session.execute(
                "INSERT INTO work.state VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                name,
                value,
            )

    def note_publication(self, publication_id: str) -> None:
        """Note nothing: the warehouse changes in the same transaction."""

    def forget_publication(self) -> None:
        """Forget nothing: there is no note."""

    def is_torn(self) -> bool:
        """Say no: store and warehouse change in one transaction."""
        return False

    def stitched_files(self) -> set[str]:
        """Name the bus files whose facts are in the store."""
        return {name for (name,) in self.session.rows("SELECT file FROM work.stitched")}

    def add_stitched_files(self, names: Sequence[str]) -> None:
        """Remember bus files as stitched."""
        self.session.insert("work", "stitched", pl.DataFrame({"file": list(names)}, schema=_STITCHED))

    def offsets(self) -> dict[tuple[str, int], int]:
        """Give the offset of the next message by topic and partition."""
        rows = self.session.rows("SELECT topic, partition, next_offset FROM work.offsets")
        return {(topic, partition): offset for topic, partition, offset in rows}

    def set_offsets(self, offsets: Offsets) -> None:
        """Replace the offsets of these topics and partitions."""
        rows = [(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        if rows:
            with self.session.asking("new_offsets", pl.DataFrame(rows, schema=_OFFSETS, orient="row")):
                self.session.execute(
                    "INSERT INTO work.offsets SELECT topic, partition, next_offset FROM new_offsets "
                    "ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset"
                )

    def fact_count(self) -> int:
        """Count the facts that stand."""
        return sum(self._counts().values())

    def _counts(self) -> dict[str, int]:
        """Give the number of facts by type: counted as they come and go, for counting them all takes long."""
        rows = self.session.rows("SELECT name, value FROM work.state WHERE starts_with(name, 'facts.')")
        return {name.removeprefix("facts."): int(value) for name, value in rows}

    def _add_to_count(self, name: str, facts: int) -> None:
        if facts:
            self.set_state(f"facts.{name}", str(self._counts().get(name, 0) + facts))

    # Customers whose journeys changed

    def add_to_outbox(self, publication_id: str, customer_ids: pl.Series) -> None:
        """Add customers whose journeys a publication changes, or takes away."""
        customers = pl.DataFrame({"customer_id": customer_ids}).unique().sort("customer_id")
        self.session.insert("work", "outbox", customers.with_columns(publication_id=pl.lit(publication_id)))

    def outbox(self, limit: int) -> pl.DataFrame:
        """Give the oldest entries."""
        return self.session.frame(
            f"SELECT sequence, customer_id, publication_id FROM work.outbox ORDER BY sequence LIMIT {limit:d}",  # noqa: S608
            OUTBOX,
        )

    def clear_outbox(self, up_to: int) -> None:
        """Take out the entries up to a sequence number."""
        self.session.execute("DELETE FROM work.outbox WHERE sequence <= $1", up_to)

    # Facts and units

    def units_of(self, nodes: UInt64Array | None) -> pl.DataFrame:
        """Look nodes up, or give all, those of facts by their keys too."""
        if nodes is None:
            keys = (f"SELECT key, unit FROM facts.{name}" for name in self._counts())  # noqa: S608
            every = " UNION ALL ".join(["SELECT node, unit FROM work.nodes", *keys])
            return self.session.frame(every, _NODES)
        with self.session.asking("asked_nodes", pl.DataFrame({"node": nodes}).unique()):
            known = " UNION ALL ".join(
                f"SELECT node, fact.unit FROM asked_nodes JOIN facts.{name} AS fact ON fact.key = node"  # noqa: S608
                for name in self._counts()
            )
            query = "SELECT node, nodes.unit FROM asked_nodes JOIN work.nodes AS nodes USING (node)"
            return self.session.frame(f"{query} UNION ALL {known}" if known else query, _NODES)

    def load_facts(self, units: UInt64Array | None) -> dict[str, pl.DataFrame]:
        """Load the facts of units, or all, by type."""
        if units is None:
            return {name: self._read(name, "") for name in FACT_TYPES}
        held = self._counts()
        with self.session.asking("wanted_units", pl.DataFrame({"unit": units}).unique()):
            return {
                name: self._read(name, "JOIN wanted_units USING (unit)")
                if held.get(name)
                else pl.DataFrame(schema=fact_columns(name))
                for name in FACT_TYPES
            }

    def streamed_facts(self, name: str) -> pl.DataFrame:
        """Load the facts of a type that came by stream."""
        return self._read(name, "WHERE mapping_version IS NOT NULL")

    def _read(self, name: str, condition: str) -> pl.DataFrame:
        columns = fact_columns(name)
        listed = ", ".join(f'"{column}"' for column in columns)
        return self.session.frame(f"SELECT {listed} FROM facts.{name} {condition}", columns)  # noqa: S608

    def insert_facts(self, name: str, paths: Sequence[Path]) -> None:
        """Add facts from Parquet files."""
        columns = fact_columns(name)
        for path in paths:
            facts = pl.read_parquet(path, glob=False, hive_partitioning=False)
            self._add_to_count(
                name,
                self.session.insert("facts", name, facts.select(c for c in columns if c in facts.columns)),
            )

    def delete_facts(self, name: str, event_ids: pl.Series) -> None:
        """Take facts out by event_id."""
        if not len(event_ids):
            return
        gone = pl.DataFrame({"key": node_hash(event_ids, "fact/"), "event_id": event_ids})
        with self.session.asking("gone_facts", gone):
            ((deleted,),) = self.session.rows(
                f"WITH deleted AS (DELETE FROM facts.{name} AS fact USING gone_facts AS gone "  # noqa: S608
                "WHERE fact.key = gone.key AND fact.event_id = gone.event_id RETURNING 1) "
                "SELECT count(*) FROM deleted"
            )
        self._add_to_count(name, -deleted)

    def relabel(self, old: UInt64Array, new: UInt64Array) -> None:
        """Merge units."""
        if not len(old):
            return
        with self.session.asking("merged_units", pl.DataFrame({"old": old, "new": new})):
            for table in ("work.nodes", *(f"facts.{name}" for name in self._counts())):
                self.session.execute(
                    f"UPDATE {table} AS kept SET unit = merged.new FROM merged_units AS merged "  # noqa: S608
                    "WHERE kept.unit = merged.old"
                )

    def insert_nodes(self, nodes: UInt64Array, units: UInt64Array) -> None:
        """Add nodes with their units."""
        self.session.insert("work", "nodes", pl.DataFrame({"node": nodes, "unit": units}, schema=_NODES))

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """Empty what a rebuild makes anew; indexes are made again at the end, which is several times quicker."""
        for lookup in _LOOKUPS:
            self.session.execute(f"DROP INDEX IF EXISTS {lookup[0].partition('.')[0]}.{_index_name(*lookup)}")
        filled = ("work.nodes", "work.path_counts", "work.stitched", *(f"facts.{n}" for n in FACT_TYPES))
        for table in filled:
            self.session.execute(f"TRUNCATE {table}")
        self.session.execute("DELETE FROM work.state WHERE starts_with(name, 'facts.')")
        yield
        for statement in (*_create_indexes(), *(f"ANALYZE {table}" for table in filled)):
            self.session.execute(statement)

    # Path counts

    def path_counts(self) -> pl.DataFrame:
        """Give the counts of paths over all subjects."""
        listed = ", ".join(f'"{column}"' for column in PATH_COUNTS)
        return self.session.frame(f"SELECT {listed} FROM work.path_counts", PATH_COUNTS)  # noqa: S608

    def set_path_counts(self, counts: pl.DataFrame) -> None:
        """Replace the counts of paths."""
        self.session.execute("DELETE FROM work.path_counts")
        self.session.insert("work", "path_counts", counts.select(list(PATH_COUNTS)))
