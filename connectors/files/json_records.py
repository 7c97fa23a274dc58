"""JSON Lines as raw records: a column per top-level key, every value a text (nested ones as JSON)."""

# ruff: noqa: S608 - the SQL is put together of constants and quoted names only
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

import duckdb
import numpy as np
import pyarrow as pa

from connectors.dead_letters import Reject
from connectors.errors import UnreadableFileError
from connectors.files.batch import (
    BATCH_RECORDS,
    LARGEST_FIELD,
    LARGEST_RECORD,
    RawBatch,
    chunks,
    opened,
    row_numbers,
)
from connectors.files.csv_tokens import Longs, gather
from connectors.ids import quoted, quoted_name
from connectors.mapping.statement import ROW

#: More distinct keys than any mapping names: values have been used as keys.
MOST_KEYS = 2_000

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NEW_LINE, _CARRIAGE_RETURN = 10, 13
_NO_OBJECT = ("bad_json", "not a JSON object; each record is one, in braces")
_TOO_LONG = ("record_too_long", f"a line of more than {LARGEST_RECORD // 2**20} MB")


def read_jsonl(path: Path) -> Iterator[RawBatch]:
    """Read a JSON Lines file in batches.

    Raises:
        UnreadableFileError: the file can't be read to its end; what came before has been yielded.
    """
    with opened(path) as stream, JsonRecords() as records:
        yield from _Lines(stream, records).batches()


class _Lines:
    """Finds the lines of a stream of bytes."""

    def __init__(self, stream: BinaryIO, records: JsonRecords) -> None:
        self.stream = stream
        self.records = records
        self.row = 0

    def batches(self) -> Iterator[RawBatch]:
        pending = b""
        first, skipping = True, False
        for chunk, is_last in chunks(self.stream):
            if first and not chunk:
                raise UnreadableFileError("empty_file", "the file is empty; deliver it again")
            content = pending + (chunk.removeprefix(_BYTE_ORDER_MARK) if first else chunk)
            first = False
            if skipping:
                # Inside of a line that was given up.
                end = content.find(b"\n")
                skipping = end < 0
                content = content[end + 1 :] if end >= 0 else b""
            if is_last and content and not content.endswith(b"\n"):
                content += b"\n"
            end = content.rfind(b"\n") + 1
            yield from self._batches(content[:end])
            pending = content[end:]
            if len(pending) > LARGEST_RECORD:
                self.row += 1
                lost, pending, skipping = pending, b"", True
                yield RawBatch(_no_records(), [Reject(*_TOO_LONG, lost, self.row)], absent_is_null=True)

    def _batches(self, content: bytes) -> Iterator[RawBatch]:
        """Make batches of whole lines."""
        buffer = np.frombuffer(content, np.uint8)
        ends = np.flatnonzero(buffer == _NEW_LINE).astype(np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends + 1])[: ends.size]
        blank = (ends == starts) | ((ends == starts + 1) & (buffer[starts] == _CARRIAGE_RETURN))
        starts, ends = starts[~blank], ends[~blank]
        for at in range(0, starts.size, BATCH_RECORDS):
            some = slice(at, at + BATCH_RECORDS)
            numbers = np.arange(self.row + 1, self.row + 1 + starts[some].size, dtype=np.int64)
            self.row += numbers.size
            yield self.records.batch(content, starts[some], ends[some], numbers)


class JsonRecords:
    """Makes records of JSON texts; it is a context manager that holds a DuckDB."""

    def __init__(self) -> None:
        self.connection = duckdb.connect(config={"threads": 1})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def none(self) -> pa.Table:
        """Give a table without records."""
        return _no_records()

    def of_values(self, values: Sequence[bytes], numbers: Longs) -> RawBatch:
        """Make records of single texts, such as the values of messages, with their numbers."""
        content = b"\n".join(values)
        sizes = np.fromiter((len(value) for value in values), np.int64, len(values))
        starts = np.zeros(len(values), np.int64)
        np.cumsum(sizes[:-1] + 1, out=starts[1:])
        return self.batch(content, starts, starts + sizes, numbers)

    def batch(self, content: bytes, starts: Longs, ends: Longs, numbers: Longs) -> RawBatch:
        """Make records of the texts that start and end at these places.

        Raises:
            UnreadableFileError: values have been used as keys.
        """
        bad = _bad_lines(content, starts, ends)
        rejects = [
            Reject(*fault, content[starts[at] : ends[at]], int(numbers[at]))
            for at, fault in sorted(bad.items())
        ]
        good = ~np.isin(np.arange(starts.size), list(bad)) if bad else np.ones(starts.size, np.bool_)
        offsets, data = gather(
            np.frombuffer(content, np.uint8), starts[good], ends[good], np.zeros(starts.size, np.uint8), 0
        )
        lines = pa.LargeStringArray.from_buffers(int(good.sum()), pa.py_buffer(offsets), pa.py_buffer(data))
        self.connection.register("lines", pa.table({ROW: row_numbers(numbers[good]), "line": lines}))
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE records AS SELECT {ROW}, line, "
            "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END AS is_object FROM lines"
        )
        others = self.connection.execute(f"SELECT {ROW}, line FROM records WHERE NOT is_object").fetchall()
        rejects.extend(Reject(*_NO_OBJECT, line.encode(), row) for row, line in others)
        rejects.sort(key=lambda reject: reject.row or 0)
        last = int(numbers[-1]) if numbers.size else 0
        return RawBatch(self._columns(self._keys(last)), rejects, absent_is_null=True)

    def _keys(self, last: int) -> list[str]:
        rows = self.connection.execute(
            "SELECT DISTINCT unnest(json_keys(line)) AS key FROM records WHERE is_object ORDER BY key"
        ).fetchall()
        if len(rows) > MOST_KEYS:
            raise UnreadableFileError(
                "too_many_keys",
                f"more than {MOST_KEYS} different keys near record {last}; put what varies into one object",
            )
        return [key for (key,) in rows]

    def _columns(self, keys: list[str]) -> pa.Table:
        """Take the values of the keys as texts; keys that differ in case only share a column."""
        places: dict[str, list[int]] = {}
        for at, key in enumerate(keys, start=1):
            places.setdefault(key.lower(), []).append(at)
        columns = []
        for lower, positions in places.items():
            if not lower or lower == ROW:
                continue
            values = ", ".join(f"nullif(found[{at}], '')" for at in positions)
            columns.append(f"coalesce({values}) AS {quoted_name(keys[positions[0] - 1])}")
        if not columns:
            return self._query(f"SELECT {ROW} FROM records WHERE is_object ORDER BY {ROW}")
        paths = ", ".join(quoted("/" + key.replace("~", "~0").replace("/", "~1")) for key in keys)
        return self._query(
            f"SELECT {ROW}, {', '.join(columns)} FROM (SELECT {ROW}, json_extract_string(line, [{paths}]) "
            f"AS found FROM records WHERE is_object) ORDER BY {ROW}"
        )

    def _query(self, sql: str) -> pa.Table:
        return self.connection.sql(sql).to_arrow_table()


def _no_records() -> pa.Table:
    return pa.table({ROW: row_numbers([])})


def _bad_lines(content: bytes, starts: Longs, ends: Longs) -> dict[int, tuple[str, str]]:
    """Say what is wrong with the bytes of lines, by their place; sound bytes are looked at as a whole."""
    bad = {
        int(at): (
            "field_too_long",
            f"a record of {ends[at] - starts[at]} bytes; {LARGEST_FIELD} are the most",
        )
        for at in np.flatnonzero(ends - starts > LARGEST_FIELD)
    }
    if _byte_fault(content) is None:
        return bad
    for at, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        fault = _byte_fault(content[start:end])
        if fault is not None:
            bad.setdefault(at, fault)
    return bad


def _byte_fault(line: bytes) -> tuple[str, str] | None:
    if b"\0" in line:
        return "nul_byte", "a NUL byte; remove it at the source"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "invalid_utf8", "not UTF-8; export the file as UTF-8"
    return None
