"""One run at a time in a home."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

LOCK_FILE = "run.lock"
#: Held by who brings facts of files to the bus.
BUS_LOCK_FILE = "bus.lock"


class HomeBusyError(RuntimeError):
    """Another process works in this home."""


@contextmanager
def home_lock(
    home: Path, purpose: str = "run", now: datetime | None = None, file: str = LOCK_FILE
) -> Iterator[None]:
    """Hold the home for one process; the lock goes with the process, however it ends.

    `now` is when it began, for the message that others get; it is the present unless given. `file` is what is locked:
    the whole home, or the bus alone (`BUS_LOCK_FILE`) for who only adds to that.
    Raises `HomeBusyError` at once, with the process id, purpose and time of who holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeBusyError(_message(home, _holder(descriptor))) from None
        since = (now or datetime.now(UTC)).astimezone(UTC)
        note = {"pid": os.getpid(), "purpose": purpose, "since": since.strftime("%Y-%m-%d %H:%M:%S UTC")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        # The file stays: deleting it would let two processes lock two files of one name.
        os.close(descriptor)


def _holder(descriptor: int) -> dict[str, object]:
    try:
        note = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _message(home: Path, note: dict[str, object]) -> str:
    who = (
        f"milepost {note['purpose']}, process {note['pid']} since {note['since']},"
        if note
        else "Another process"
    )
    return f"{who} works in {home}. Wait until it ends, or stop it; nothing was changed."
