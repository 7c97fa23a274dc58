"""What reading a file yields."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from connectors.dead_letters import Reject
from connectors.errors import UnreadableFileError
from connectors.mapping.statement import ROW

#: Bytes that are read at a time.
CHUNK_BYTES = 8 * 1024 * 1024
#: Records of a batch, where the format is not read by bytes.
BATCH_RECORDS = 50_000
#: A longer field is a mistake in somebody's data: its record is rejected.
LARGEST_FIELD = 1024 * 1024
#: A longer record is given up, and reading goes on at the next line.
LARGEST_RECORD = 64 * 1024 * 1024


@dataclass(frozen=True)
class RawBatch:
    """Records of a file: the good ones as a table with `_row` (Int64, from 1), the others as rejects.

    `absent_is_null`: the records need not all have the same columns. `received` counts good and bad ones.
    """

    table: pa.Table
    rejects: list[Reject] = field(default_factory=list)
    absent_is_null: bool = False

    @property
    def received(self) -> int:
        """Records read, bad ones included."""
        return int(self.table.num_rows) + len(self.rejects)


def row_numbers(numbers: list[int] | range | npt.NDArray[np.int64]) -> pa.Array:
    """Give record numbers as the array of `_row`."""
    return pa.array(numbers, pa.int64())


def check_names(names: list[str]) -> None:
    """Refuse column names that SQL could not tell apart; raises UnreadableFileError."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise UnreadableFileError(
                "bad_header", f"column {name!r} is there twice (case aside); rename one in the file"
            )
        if name.lower() == ROW:
            raise UnreadableFileError("bad_header", f"the name {ROW} is taken; rename the column in the file")
        seen.add(name.lower())


def chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes of a stream in chunks, and whether each is the last.

    Where the stream breaks, what came before is yielded (as not the last), then the fault is raised.
    """
    current, fault = _fill(stream)
    while True:
        following = b""
        if current and fault is None:
            following, fault = _fill(stream)
            if following and fault is not None:
                yield current, False
                current, following = following, b""
        yield current, not following and fault is None
        if not following:
            break
        current = following
    if fault is not None:
        raise fault


def _fill(stream: BinaryIO) -> tuple[bytes, Exception | None]:
    """Read a chunk; beside what was read comes the fault that ended it."""
    parts: list[bytes] = []
    size = 0
    try:
        while size < CHUNK_BYTES and (part := stream.read1(CHUNK_BYTES - size)):  # type: ignore[attr-defined]
            parts.append(part)
            size += len(part)
    except (EOFError, OSError, zlib.error) as error:
        return b"".join(parts), error
    return b"".join(parts), None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, through gzip where its name ends in .gz; faults are UnreadableFileError."""
    try:
        with path.open("rb") as plain:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=plain)) if path.suffix == ".gz" else plain
    except FileNotFoundError as error:
        raise UnreadableFileError(
            "file_missing", "the file has disappeared; put it back and run again"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableFileError(
            "truncated_file", f"gzip can't be read to its end ({error}); deliver the file again"
        ) from error
    except OSError as error:
        raise UnreadableFileError("unreadable_file", f"can't be read: {error.strerror or error}") from error
