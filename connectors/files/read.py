"""Reading a file of any format in batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from connectors.errors import UnreadableFileError
from connectors.files.batch import RawBatch
from connectors.files.csv_records import read_csv
from connectors.files.discover import format_of
from connectors.files.json_records import read_jsonl
from connectors.files.typed_records import read_avro, read_parquet
from milepost.project import Project, ProjectError
from milepost.sources import CsvSettings, Source


def read_batches(path: Path, source: Source) -> Iterator[RawBatch]:
    """Read a source's file.

    Raises:
        UnreadableFileError: the file can't be read to its end; what came before has been yielded.
    """
    form = format_of(path, source)
    if form == "csv":
        yield from read_csv(path, _csv_settings(path, source))
    elif form == "jsonl":
        yield from read_jsonl(path)
    elif form == "parquet":
        yield from read_parquet(path)
    else:
        yield from read_avro(path)


def _csv_settings(path: Path, source: Source) -> CsvSettings:
    """Give the source's CSV settings; a file called .tsv has tabs unless the source sets a delimiter."""
    named = path.with_suffix("") if path.suffix == ".gz" else path
    if named.suffix.lower() == ".tsv" and "delimiter" not in source.csv.model_fields_set:
        return source.csv.model_copy(update={"delimiter": "\t"})
    return source.csv


def read_lookups(source: Source, project: Project) -> dict[str, pa.Table]:
    """Read a source's lookups whole.

    Raises:
        ProjectError: a lookup can't be read, or holds a bad record; a mapping needs all of it.
    """
    tables = {}
    for name, path in project.lookup_files(source).items():
        key = f"{project.file}: sources.{source.name}.lookups.{name}: {path}"
        plain = source.model_copy(update={"format": None, "csv": CsvSettings()})
        try:
            batches = list(read_batches(path, plain))
        except UnreadableFileError as error:
            raise ProjectError(f"{key}: {error.reason}") from error
        rejects = [reject for batch in batches for reject in batch.rejects]
        if rejects:
            raise ProjectError(f"{key}, row {rejects[0].row}: {rejects[0].reason}")
        whole = pa.concat_tables([batch.table for batch in batches], promote_options="permissive")
        tables[name] = whole.drop_columns(["_row"])
    return tables
