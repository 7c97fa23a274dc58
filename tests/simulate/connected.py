"""Facts of a project through the connectors alone: files, mappings, identifiers; no bus, no store."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from connectors.files.discover import find_files
from connectors.files.read import read_batches, read_lookups
from connectors.keys import HashingKey, Identifiers
from connectors.mapping.engine import MappingEngine
from connectors.mapping.facts import Origin, make_facts
from milepost.project import load_project
from schemas.contracts import FACT_TYPES, empty_facts
from schemas.vocabulary import load_vocabulary

KEY = HashingKey(b"k" * 32)


def facts_of(project_folder: Path) -> tuple[dict[str, pl.DataFrame], int]:
    """Facts by type, and how many records were rejected, by the reader or by the mapping."""
    project, vocabulary = load_project(project_folder, home=project_folder / "home"), load_vocabulary()
    found: dict[str, list[pl.DataFrame]] = {name: [empty_facts(name)] for name in FACT_TYPES}
    rejected = 0
    for source in project.sources.values():
        engine = MappingEngine(
            file=source.mapping,
            text=project.mapping_sql(source),
            fact=source.fact,
            unit=source.unit,
            system=source.source_system,
            zone=source.zone,
            lookups=read_lookups(source, project),
            vocabulary=vocabulary,
        )
        origin = Origin(source.source_system, "0" * 32, 0, "1", source.fact, source.unit)
        for file in find_files(source, project):
            batches = list(read_batches(file, source))
            rejected += sum(len(batch.rejects) for batch in batches)
            tables = [batch.table for batch in batches]
            if source.unit == "file":
                tables = [pa.concat_tables(tables)]
            for table in tables:
                mapped = engine.map_batch(table, source.format == "jsonl" or ".jsonl" in file.name)
                rejected += mapped.faults.height
                made = make_facts(mapped.rows, origin, Identifiers(vocabulary, KEY), lambda _: pl.DataFrame())
                found[source.fact].append(made.facts.drop("_row"))
    return {name: pl.concat(frames) for name, frames in found.items()}, rejected
