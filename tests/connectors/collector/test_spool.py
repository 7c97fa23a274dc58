"""The spool: what it took is there after any crash, in order; what was torn is told."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.collector import spool as spool_module
from connectors.collector.frames import pack, unpack
from connectors.collector.records import Overloaded, RawRecord
from connectors.collector.spool import Room, Spool

MIB = 1024 * 1024


def _records(start: int, count: int) -> list[RawRecord]:
    return [
        RawRecord(b"k%d" % number, b'{"n":%d}' % number, number) for number in range(start, start + count)
    ]


def _run(
    folder: Path, work: Callable[[Spool], Awaitable[Any]], most: int = MIB, file_bytes: int = 1000
) -> Any:
    """Open a spool, work with it, and leave it as a crash would: nothing is closed in order."""

    async def _work() -> Any:
        with ThreadPoolExecutor(1) as executor:
            return await work(Spool(folder, Room(most), executor, file_bytes))

    return asyncio.run(_work())


async def _drained(spool: Spool, most_bytes: int = 300) -> list[RawRecord]:
    found: list[RawRecord] = []
    while records := await spool.read(most_bytes):
        found += records
        await spool.forget()
    assert spool.is_empty
    return found


@given(
    st.lists(st.builds(RawRecord, st.binary(), st.binary(), st.integers(-(2**63), 2**63 - 1))), st.binary()
)
def test_frames(records: list[RawRecord], rest: bytes) -> None:
    data = pack(records)
    assert [record for record, _ in unpack(data)] == records
    for end in range(0, len(data), 7):
        whole = [record for record, place in unpack(data[:end]) if place <= end]
        assert whole == records[: len(whole)]
    assert [record for record, _ in unpack(data + rest)][: len(records)] == records


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(10, 2_000))
def test_what_was_taken_comes_out_in_order_also_after_a_crash(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], read_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    taken: list[RawRecord] = []

    async def take(spool: Spool) -> None:
        for size in sizes:
            records = _records(len(taken), size)
            await spool.append(records)
            taken.extend(records)

    async def take_some(spool: Spool) -> list[RawRecord]:
        records = await spool.read(read_bytes)
        await spool.forget()
        return records

    _run(folder, take)
    some = _run(folder, take_some)
    assert some == taken[: len(some)]
    rest = _run(folder, lambda spool: _drained(spool, read_bytes))
    # Of a file that was not finished, all comes again.
    assert rest == taken[len(taken) - len(rest) :]
    assert len(rest) + len(some) >= len(taken)
    assert not list(folder.iterdir())


def test_requests_that_come_together_share_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = []
    true_sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (syncs.append(1), true_sync(descriptor)))

    async def together(spool: Spool) -> list[RawRecord]:
        await asyncio.gather(*(spool.append(_records(number, 1)) for number in range(50)))
        return await _drained(spool)

    assert _run(tmp_path, together) == _records(0, 50)
    assert len(syncs) <= 3


def test_reading_while_writing(tmp_path: Path) -> None:
    async def both(spool: Spool) -> list[RawRecord]:
        found: list[RawRecord] = []

        async def write() -> None:
            for number in range(0, 600, 3):
                await spool.append(_records(number, 3))

        writer = asyncio.create_task(write())
        while not writer.done() or not spool.is_empty:
            records = await spool.read(500)
            if records:
                found += records
                await spool.forget()
            await asyncio.sleep(0)
        await writer
        return found

    assert _run(tmp_path, both) == _records(0, 600)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [b"\0", b"\xff" * 7, b"\x10\0\0\0\0\0\0\0" + b"x" * 30, b"\xff" * 3000])
def test_a_torn_end(tmp_path: Path, damage: bytes) -> None:
    _run(tmp_path, lambda spool: spool.append(_records(0, 5)))
    [file] = tmp_path.iterdir()
    with file.open("ab") as opened:
        opened.write(damage)
    _run(tmp_path, lambda spool: spool.append(_records(5, 5)))
    assert _run(tmp_path, _drained) == _records(0, 10)
    [torn] = tmp_path.iterdir()
    assert torn.suffix == ".torn"
    assert torn.read_bytes() == damage
    assert torn.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [1, 9, 30])
def test_a_file_cut_short(tmp_path: Path, cut: int) -> None:
    _run(tmp_path, lambda spool: spool.append(_records(0, 5)))
    [file] = tmp_path.iterdir()
    os.truncate(file, file.stat().st_size - cut)
    found = _run(tmp_path, _drained)
    assert found == _records(0, len(found))
    assert len(found) in {3, 4}


def test_damage_under_way(tmp_path: Path) -> None:
    async def damaged(spool: Spool) -> list[RawRecord]:
        await spool.append(_records(0, 10))
        [file] = tmp_path.iterdir()
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        await spool.append(_records(10, 1))
        return await _drained(spool, 10_000)

    found = _run(tmp_path, damaged)
    assert found == _records(0, len(found))
    assert len(found) < 10
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"]


def test_room(tmp_path: Path) -> None:
    async def fill(spool: Spool) -> None:
        for start in range(0, 100, 10):
            await spool.append(_records(start, 10))
        with pytest.raises(Overloaded) as full:
            await spool.append(_records(100, 100))
        assert (full.value.code, full.value.status) == ("spool_full", 503)
        assert await _drained(spool) == _records(0, 100)
        await spool.append(_records(0, 10))

    _run(tmp_path, fill, most=5_000)
    # What an earlier process left takes its room.
    used = sum(path.stat().st_size for path in tmp_path.iterdir())

    async def look(spool: Spool) -> int:
        return spool._room.used

    assert _run(tmp_path, look) == used


@pytest.mark.parametrize("step", ["write", "fdatasync"])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    true_step = getattr(os, step)
    full = False

    def fail(descriptor: int, *rest: Any) -> Any:
        if not full:
            return true_step(descriptor, *rest)
        if step == "write":
            true_step(descriptor, rest[0][:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    async def work(spool: Spool) -> list[RawRecord]:
        nonlocal full
        await spool.append(_records(0, 5))
        monkeypatch.setattr(spool_module.os, step, fail)
        full = True
        for _ in range(2):
            with pytest.raises(Overloaded) as refusal:
                await spool.append(_records(100, 5))
            assert (refusal.value.code, refusal.value.status) == ("spool_failed", 503)
        full = False
        await spool.append(_records(5, 5))
        return await _drained(spool)

    assert _run(tmp_path, work) == _records(0, 10)
    assert not list(tmp_path.iterdir())


def test_rights(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "spool"
    _run(folder, lambda spool: spool.append(_records(0, 1)))
    [file] = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
