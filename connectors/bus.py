"""The file bus: canonical facts as Avro object container files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import fastavro
import polars as pl

from connectors.avro_rows import encode_rows, plain_columns
from connectors.registry import Ingested, Registry, Seen, append_entries, load_registry
from connectors.sync import write_whole
from schemas.contracts import avro_schema, frame_schema

#: A bus file holds no more facts than this.
FACTS_PER_FILE = 100_000
#: Facts of an Avro block: readers take a block at a time.
FACTS_PER_BLOCK = 4_096
DEAD_LETTERS = "dead_letter"


@lru_cache(maxsize=32)
def writer_schema(fact: str) -> dict[str, Any]:
    """Give the Avro schema that bus files carry: the contract without its fields' defaults.

    Defaults are a reader's business, and `polars.read_avro` can't read numeric ones.
    """
    contract = avro_schema(fact)
    fields = [
        {key: value for key, value in field.items() if key != "default"} for field in contract["fields"]
    ]
    return {**contract, "fields": fields}


class Bus:
    """The bus of a home: a folder of files per type of fact, and the registry of what they came from."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "bus"
        self.raw_zone = home / "raw"

    def write(self, fact: str, name: str, facts: pl.DataFrame) -> str:
        """Write facts (or dead letters) as one file, replacing one of that name; gives the file's name."""
        folder = self.folder / fact
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file_name = f"{name}.avro"
        write_whole(folder / file_name, encode_facts(fact, facts, name))
        return file_name

    def registry(self) -> Registry:
        """Load what is known of files."""
        return load_registry(self.folder)

    def current_files(self, fact: str) -> list[Path]:
        """List the bus files of a type of fact (or `dead_letter`) that stand, in order of their names."""
        return [self.folder / fact / name for name in self.registry().current_names(fact)]

    def superseded_files(self, fact: str) -> list[Path]:
        """List the bus files whose contents have been mapped again since: their facts no longer stand."""
        return [self.folder / fact / name for name in self.registry().superseded_names(fact)]

    def put(self, source: str, fact: str, facts: pl.DataFrame, received_at: int) -> Path:
        """Put facts that no file brought (an erasure or a link from the command line) on the bus.

        Args:
            source: what the registry calls their origin.
            fact: the type of fact.
            facts: frame with the contract's columns.
            received_at: when they entered (microseconds, UTC).

        Returns:
            The bus file. Putting the same facts again changes nothing.
        """
        digest = hashlib.sha256(encode_facts(fact, facts, "put")).hexdigest()
        name = self.write(fact, file_stem(source, digest, "put", 0), facts)
        origin = f"put:{source}"
        append_entries(
            self.folder,
            [
                Seen(source, digest, origin, received_at),
                Ingested(source, digest, "put", origin, files={fact: [name]}),
            ],
        )
        return self.folder / fact / name


def file_stem(source: str, sha256: str, mapping_version: str, part: int) -> str:
    """Name a bus file after what it came from, so that a rerun writes the same file."""
    return f"{source}-{sha256[:24]}-{mapping_version[:12]}-{part:05d}"


def encode_facts(fact: str, facts: pl.DataFrame, name: str) -> bytes:
    """Encode facts as an Avro object container file: equal facts and names give equal bytes."""
    plain = plain_columns(facts, frame_schema(fact))
    marker = hashlib.md5(name.encode(), usedforsecurity=False).digest()
    out = io.BytesIO()
    schema = writer_schema(fact)
    fastavro.writer(out, fastavro.parse_schema(schema), [], sync_marker=marker)
    for block in plain.iter_slices(FACTS_PER_BLOCK):
        if block.height:
            rows = encode_rows(block, schema["fields"])
            fastavro.schemaless_writer(out, "long", block.height)
            fastavro.schemaless_writer(out, "long", len(rows))
            out.write(rows)
            out.write(marker)
    return out.getvalue()


def read_bus_file(path: Path) -> pl.DataFrame:
    """Read a bus file as a frame with the contract's columns; the folder says the type of fact.

    A file of an older or newer schema is read by Avro's rules of schema resolution.
    """
    fact = path.parent.name
    schema = frame_schema(fact)
    with path.open("rb") as opened:
        written = json.loads(fastavro.reader(opened).metadata["avro.schema"])
    if written == _stored_schema(fact):
        frame = pl.read_avro(path)
        if frame.height:
            return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())
        return pl.DataFrame(schema=schema)
    with path.open("rb") as opened:
        rows = list(fastavro.reader(opened, reader_schema=fastavro.parse_schema(avro_schema(fact))))
    return pl.DataFrame(rows, schema=schema, orient="row")


@lru_cache(maxsize=32)
def _stored_schema(fact: str) -> Any:
    """Give the schema as a file that was written now would carry it."""
    content = io.BytesIO(encode_facts(fact, pl.DataFrame(schema=frame_schema(fact)), ""))
    return json.loads(fastavro.reader(content).metadata["avro.schema"])
