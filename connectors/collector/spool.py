"""The spool: records that Kafka can't take now, in files of one source, in order, until it can.

A record is taken when it is on the disk (fsync); requests that come together share one. Files are appended to
and deleted whole, once Kafka has all of their records; after a crash a file's records are sent again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from connectors.collector.frames import pack, unpack, whole_bytes
from connectors.collector.records import Overloaded, RawRecord
from connectors.collector.settings import MIB
from connectors.sync import sync_folder, write_whole

#: Size at which the next file is begun.
FILE_BYTES = 8 * MIB
_SUFFIX = ".spool"
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)


class Room:
    """How much of the disk the spools of all sources may take together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def take(self, count: int) -> None:
        """Reserve bytes; raises Overloaded (503) where there are none left."""
        if self.used + count > self.most:
            raise Overloaded("spool_full", "nothing can be kept now; come again later", 503, 30)
        self.used += count

    def give_back(self, count: int) -> None:
        """Free bytes."""
        self.used -= count


@dataclass
class _File:
    path: Path
    #: Bytes that are on the disk for sure.
    durable: int = 0
    #: Bytes whose records Kafka has.
    delivered: int = 0


class Spool:
    """The spool of one source; to be used from one event loop, whose file work `executor` does."""

    def __init__(self, folder: Path, room: Room, executor: Executor, file_bytes: int = FILE_BYTES) -> None:
        """Open a folder (made with mode 0700), with what an earlier process left there."""
        self._folder = folder
        self._room = room
        self._executor = executor
        self._file_bytes = file_bytes
        self._files: deque[_File] = deque()
        self._open: _File | None = None
        self._descriptor = -1
        self._pending: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._read_to = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._next = 1
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            self._adopt(path)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is here or on its way here."""
        return not self._files and not self._pending and self._writing is None

    async def append(self, records: Sequence[RawRecord]) -> None:
        """Return once the records are on the disk.

        Raises:
            Overloaded: there is no room, or the disk refuses; none of them may be reported as taken.
        """
        data = pack(records)
        self._room.take(len(data))
        done = asyncio.get_running_loop().create_future()
        self._pending.append((data, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_pending())
        # Whoever waits here may be cancelled; what is being written is written all the same.
        await asyncio.shield(done)

    async def read(self, most_bytes: int) -> list[RawRecord]:
        """Give the oldest records that have not been delivered; none where there are none now."""
        await self._drop_delivered()
        if not self._files or self._files[0].delivered >= self._files[0].durable:
            return []
        file = self._files[0]
        records, self._read_to = await self._in_thread(
            _read, file.path, file.delivered, file.durable, most_bytes
        )
        if records:
            return records
        kept = file.path.with_suffix(".damaged")
        _logger.error(
            "%s: can't be read from byte %d on; a copy is kept as %s", file.path, file.delivered, kept.name
        )
        await self._in_thread(_keep_rest, file.path, file.delivered, kept)
        file.delivered = file.durable
        return await self.read(most_bytes)

    async def forget(self) -> None:
        """Drop what was last read, now that it is delivered."""
        self._files[0].delivered = self._read_to
        await self._drop_delivered()

    async def close(self) -> None:
        """Finish what is being written, and let go of the files."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._open = -1, None

    def _adopt(self, path: Path) -> None:
        """Take over a file of an earlier process; what was torn at its end was never acknowledged."""
        size, whole = path.stat().st_size, whole_bytes(path)
        if whole < size:
            kept = path.with_suffix(".torn")
            _logger.warning(
                "%s: %d bytes at the end are no whole record; a copy is kept as %s",
                path,
                size - whole,
                kept.name,
            )
            _keep_rest(path, whole, kept)
        self._next = int(path.stem) + 1
        if whole:
            self._files.append(_File(path, durable=whole))
            self._room.used += whole
        else:
            path.unlink()

    async def _write_pending(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            data = b"".join(part for part, _ in batch)
            try:
                await self._write(data)
            except Exception as error:
                self._room.give_back(len(data))
                _logger.error("%s: the spool can't be written: %s", self._folder, error)
                refusal = Overloaded("spool_failed", "nothing can be kept now; come again later", 503, 30)
                for _, done in batch:
                    if not done.done():
                        done.set_exception(refusal)
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
        self._writing = None

    async def _write(self, data: bytes) -> None:
        """Write frames to the open file and to the disk, beginning a file where none is open or it is full."""
        file = self._open
        if file is None or file.durable >= self._file_bytes:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            file = _File(self._folder / f"{self._next:010d}{_SUFFIX}")
            self._descriptor, self._open = -1, None
            self._descriptor = await self._in_thread(_create, file.path)
            self._next += 1
            self._open = file
        try:
            await self._in_thread(_write_through, self._descriptor, data)
        except OSError:
            # After a failed fsync nobody knows what the disk holds: this file is written to no more.
            descriptor, self._descriptor, self._open = self._descriptor, -1, None
            await self._in_thread(_cut, descriptor, file.path, file.durable)
            raise
        if not file.durable:
            self._files.append(file)
        file.durable += len(data)

    async def _drop_delivered(self) -> None:
        """Delete the first file once Kafka has all of it and nothing more is on its way into it."""
        if not self._files or self._files[0].delivered < self._files[0].durable:
            return
        file = self._files[0]
        descriptor = -1
        if file is self._open:
            if self._pending or self._writing:
                return
            descriptor, self._descriptor, self._open = self._descriptor, -1, None
        self._files.popleft()
        await self._in_thread(_drop, file.path, descriptor)
        self._room.give_back(file.durable)

    async def _in_thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)


def _create(path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    sync_folder(path.parent)
    return descriptor


def _write_through(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fdatasync(descriptor)


def _cut(descriptor: int, path: Path, size: int) -> None:
    """Take back a write that failed, and close the file."""
    try:
        if size:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        else:
            path.unlink()
    except OSError as error:
        _logger.error("%s: a failed write can't be taken back: %s", path, error)
    finally:
        os.close(descriptor)


def _read(path: Path, start: int, end: int, most_bytes: int) -> tuple[list[RawRecord], int]:
    """Read records between two places, some `most_bytes` of them but at least one, and the place behind them."""
    with path.open("rb") as opened:
        opened.seek(start)
        data = opened.read(min(most_bytes, end - start))
        if not any(True for _ in unpack(data)):
            data += opened.read(end - start - len(data))
    frames = list(unpack(data))
    return [record for record, _ in frames], start + (frames[-1][1] if frames else 0)


def _keep_rest(path: Path, start: int, kept: Path) -> None:
    """Copy what can't be read, for who wants to look at it."""
    with path.open("rb") as opened:
        opened.seek(start)
        write_whole(kept, opened.read())


def _drop(path: Path, descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
    path.unlink(missing_ok=True)
