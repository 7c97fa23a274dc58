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
    BATCH_RECORDS,
    LARGEST_FIELD,
    LARGEST_RECORD,
    RawBatch,
    check_names,
    chunks,
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
from milepost.sources import CsvSettings

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LEXICAL = {
    NUL_BYTE: ("nul_byte", "a NUL byte; remove it at the source"),
    TEXT_AFTER_QUOTE: ("bad_quotes", "text behind a closing quote; quotes inside a field are doubled"),
    OPEN_QUOTE: ("bad_quotes", "a quote that nothing closes; quotes inside a field are doubled"),
}
_NOT_UTF8 = ("invalid_utf8", "not UTF-8; export the file as UTF-8")
_TOO_LONG = (
    "record_too_long",
    f"a record of more than {LARGEST_RECORD // 2**20} MB, or a quote that nothing closes",
)


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
        first, skipping = True, False
        for chunk, is_last in chunks(self.stream):
            content = pending + chunk
            if first:
                content = content.removeprefix(_BYTE_ORDER_MARK)
                first = False
            if skipping:
                # Inside of a line that was given up.
                end = content.find(b"\n")
                skipping = end < 0
                content = content[end + 1 :] if end >= 0 else b""
            tokens = tokenise(np.frombuffer(content, np.uint8), 0, is_last, self.delimiter, self.quote)
            yield from self._batches(content, tokens)
            pending = content[tokens.consumed :]
            if len(pending) > LARGEST_RECORD:
                end = pending.find(b"\n")
                self.row += 1
                lost = pending[:end] if end >= 0 else pending
                skipping = end < 0
                pending = pending[end + 1 :] if end >= 0 else b""
                yield RawBatch(self._table([], []), [Reject(*_TOO_LONG, lost, self.row)])
        if self.names is None:
            raise UnreadableFileError("empty_file", "the file is empty, not even a header; deliver it again")

    def _batches(self, content: bytes, tokens: Tokens) -> Iterator[RawBatch]:
        begin = 0
        if self.names is None and tokens.status.size:
            self.names = self._header(content, tokens)
            begin = 1
            if tokens.status.size == 1:
                yield RawBatch(self._table([], []))
        for start in range(begin, tokens.status.size, BATCH_RECORDS):
            yield self._batch(
                content, tokens, np.arange(start, min(start + BATCH_RECORDS, tokens.status.size))
            )

    def _batch(self, content: bytes, tokens: Tokens, records: Longs) -> RawBatch:
        buffer = np.frombuffer(content, np.uint8)
        before = self.row + 1 - int(records[0])
        self.row += records.size
        faults = self._faults(tokens, records)
        good = records[~np.isin(records, list(faults))] if faults else records
        columns, broken = self._columns(buffer, tokens, good)
        if broken.size:
            faults.update(dict.fromkeys(broken.tolist(), _NOT_UTF8))
            good = good[~np.isin(good, broken)]
            columns, _ = self._columns(buffer, tokens, good)
        rejects = [
            Reject(*fault, content[tokens.record_start[at] : tokens.record_end[at]], at + before)
            for at, fault in sorted(faults.items())
        ]
        return RawBatch(self._table(columns, good + before), rejects)

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

    def _faults(self, tokens: Tokens, records: Longs) -> dict[int, tuple[str, str]]:
        """Say what is wrong with records, by their place among the tokens."""
        expected = len(self.names or ())
        first, last = tokens.first_field[records], tokens.first_field[records + 1]
        counts = last - first
        faults: dict[int, tuple[str, str]] = {}
        for at in np.flatnonzero(counts != expected).tolist():
            more = counts[at] > expected
            said = f"{counts[at]} fields where the header has {expected}"
            hint = "; put quotes around fields that hold delimiters" if more else ""
            faults[int(records[at])] = (f"too_{'many' if more else 'few'}_columns", said + hint)
        lengths = (tokens.field_end - tokens.field_start)[first[0] : last[-1]]
        for field in (np.flatnonzero(lengths > LARGEST_FIELD) + first[0]).tolist():
            record = int(np.searchsorted(tokens.first_field, field, side="right")) - 1
            size = int(tokens.field_end[field] - tokens.field_start[field])
            faults[record] = ("field_too_long", f"a field of {size} bytes; {LARGEST_FIELD} are the most")
        for at in np.flatnonzero(tokens.status[records]).tolist():
            faults[int(records[at])] = _LEXICAL[int(tokens.status[records[at]])]
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

    def _table(self, columns: list[pa.Array], numbers: Longs | list[int]) -> pa.Table:
        names = self.names or []
        if not columns:
            columns = [pa.array([], pa.large_string()) for _ in names]
        return pa.table([row_numbers(numbers), *columns], names=[ROW, *names])


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
