"""CSV as raw records: every field a text, an empty one NULL, bad records rejects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from connectors.dead_letters import Reject
from connectors.errors import UnreadableFileError
from connectors.files.batch import (
    CHUNK_BYTES,
    LARGEST_FIELD,
    LARGEST_RECORD,
    RawBatch,
    check_names,
    opened,
    row_numbers,
)
from connectors.files.csv_tokens import (
    NUL_BYTE,
    OPEN_QUOTE,
    TEXT_AFTER_QUOTE,
    Bytes,
    Longs,
    Tokens,
    gather,
    tokenise,
)
from connectors.mapping.statement import ROW
from milepost.project import CsvSettings

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LEXICAL = {
    NUL_BYTE: ("nul_byte", "a NUL byte; remove it at the source"),
    TEXT_AFTER_QUOTE: ("bad_quotes", "text behind a closing quote; quotes inside a field are doubled"),
    OPEN_QUOTE: ("bad_quotes", "a quote that nothing closes; quotes inside a field are doubled"),
}


def read_csv(path: Path, settings: CsvSettings) -> Iterator[RawBatch]:
    """Read a CSV file in batches.

    Raises:
        UnreadableFileError: the file can't be read to its end; what came before has been yielded.
    """
    with opened(path) as stream:
        yield from _Reader(stream, settings).batches()


class _Reader:
    def __init__(self, stream: BinaryIO, settings: CsvSettings) -> None:
        self.stream = stream
        self.delimiter = ord(settings.delimiter)
        self.quote = ord(settings.quote)
        self.names = list(settings.header) if settings.header else None
        self.row = 0

    def batches(self) -> Iterator[RawBatch]:
        pending = b""
        first = True
        while True:
            chunk = self.stream.read(CHUNK_BYTES)
            is_last = len(chunk) < CHUNK_BYTES and not (rest := self.stream.read(1))
            if not is_last and len(chunk) < CHUNK_BYTES:
                chunk += rest
            content = pending + chunk
            if first:
                content = content.removeprefix(_BYTE_ORDER_MARK)
                first = False
            tokens = tokenise(np.frombuffer(content, np.uint8), 0, is_last, self.delimiter, self.quote)
            yield from self._batch(content, tokens)
            pending = content[tokens.consumed :]
            if is_last:
                break
            if len(pending) > LARGEST_RECORD:
                reject, pending = self._give_up(pending)
                yield RawBatch(self._table([], [], []), [reject])
        if self.names is None:
            raise UnreadableFileError("empty_file", "the file is empty, not even a header; deliver it again")

    def _give_up(self, pending: bytes) -> tuple[Reject, bytes]:
        """Reject the line that a record too long to be one starts with; give what comes behind the line."""
        self.row += 1
        end = pending.find(b"\n")
        lost = pending[:end] if end >= 0 else pending
        while end < 0:
            chunk = self.stream.read(CHUNK_BYTES)
            if not chunk:
                pending, end = b"", 0
                break
            pending, end = chunk, chunk.find(b"\n")
        reason = f"a record of more than {LARGEST_RECORD // 2**20} MB, or a quote that nothing closes"
        return Reject("record_too_long", reason, lost, self.row), pending[end + 1 :]

    def _batch(self, content: bytes, tokens: Tokens) -> Iterator[RawBatch]:
        begin = 0
        if self.names is None and tokens.status.size:
            self.names = self._header(content, tokens)
            begin = 1
        records = tokens.status.size - begin
        if self.names is None or records <= 0:
            if self.names is not None and begin:
                yield RawBatch(self._table([], [], []))
            return
        buffer = np.frombuffer(content, np.uint8)
        numbers = np.arange(self.row + 1, self.row + records + 1, dtype=np.int64)
        self.row += records
        faults = self._faults(tokens, begin)
        good = np.flatnonzero(np.array([fault is None for fault in faults])) if any(faults) else None
        rows = np.arange(records) if good is None else good
        columns, broken = self._columns(buffer, tokens, rows + begin)
        for record in broken:
            faults[record - begin] = ("invalid_utf8", "not UTF-8; export the file as UTF-8")
        if len(broken):
            rows = rows[~np.isin(rows + begin, broken)]
            columns, _ = self._columns(buffer, tokens, rows + begin)
        rejects = [
            Reject(
                *fault,
                content[tokens.record_start[at + begin] : tokens.record_end[at + begin]],
                int(numbers[at]),
            )
            for at, fault in enumerate(faults)
            if fault is not None
        ]
        yield RawBatch(self._table(self.names, columns, numbers[rows]), rejects)

    def _header(self, content: bytes, tokens: Tokens) -> list[str]:
        if tokens.status[0]:
            raise UnreadableFileError(
                "bad_header", f"the first line holds {_LEXICAL[int(tokens.status[0])][1]}"
            )
        names = []
        for at in range(tokens.first_field[1]):
            field = content[tokens.field_start[at] : tokens.field_end[at]]
            if len(field) > LARGEST_FIELD:
                raise UnreadableFileError("bad_header", "the first line holds more than names")
            names.append(field.decode("utf-8", errors="replace").strip())
        if not all(names):
            raise UnreadableFileError("bad_header", "a column without a name in the first line; name it")
        check_names(names)
        return names

    def _faults(self, tokens: Tokens, begin: int) -> list[tuple[str, str] | None]:
        """Say what is wrong with each record, if anything."""
        expected = len(self.names or ())
        counts = np.diff(tokens.first_field)[begin:]
        lengths = tokens.field_end - tokens.field_start
        faults: list[tuple[str, str] | None] = [None] * counts.size
        for at in np.flatnonzero(counts < expected):
            faults[at] = ("too_few_columns", f"{counts[at]} fields where the header has {expected}")
        for at in np.flatnonzero(counts > expected):
            faults[at] = (
                "too_many_columns",
                f"{counts[at]} fields where the header has {expected}; put quotes around fields with delimiters",
            )
        for field in np.flatnonzero(lengths > LARGEST_FIELD):
            record = int(np.searchsorted(tokens.first_field, field, side="right")) - 1
            if record >= begin:
                faults[record - begin] = (
                    "field_too_long",
                    f"a field of {lengths[field]} bytes; {LARGEST_FIELD} are the most",
                )
        for at in np.flatnonzero(tokens.status[begin:]):
            faults[at] = _LEXICAL[int(tokens.status[at + begin])]
        return faults

    def _columns(self, buffer: Bytes, tokens: Tokens, records: Longs) -> tuple[list[pa.Array], Longs]:
        """Copy the columns of records; also gives the records that are not UTF-8."""
        columns = []
        broken: set[int] = set()
        first = tokens.first_field[records]
        for column in range(len(self.names or ())):
            fields = first + column
            offsets, data = gather(
                buffer,
                tokens.field_start[fields],
                tokens.field_end[fields],
                tokens.escaped[fields],
                self.quote,
            )
            given = np.diff(offsets) > 0
            bitmap = np.packbits(given, bitorder="little")
            buffers = [pa.py_buffer(bitmap), pa.py_buffer(offsets), pa.py_buffer(data)]
            values = pa.LargeBinaryArray.from_buffers(pa.large_binary(), records.size, buffers)
            try:
                columns.append(values.cast(pa.large_string()))
            except pa.ArrowInvalid:
                broken.update(
                    int(record)
                    for record, value in zip(records, values, strict=True)
                    if not _is_utf8(value.as_py())
                )
        return columns, np.array(sorted(broken), np.int64)

    def _table(self, names: list[str], columns: list[pa.Array], numbers: Longs | list[int]) -> pa.Table:
        if not columns:
            names = self.names or []
            columns = [pa.array([], pa.large_string()) for _ in names]
        return pa.table([row_numbers(list(numbers)), *columns], names=[ROW, *names])


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
