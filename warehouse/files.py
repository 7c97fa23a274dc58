"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

#: The mark of a file that is being written; one that a killed process left may be deleted.
DRAFT_MARK = ".draft-"

#: A DuckDB file begins with so many bytes of headers.
HEADER_BYTES = 3 * 4096


def draft_of(target: Path) -> Path:
    """Give a new name beside the target under which to write what will replace it."""
    return target.with_name(f"{target.name}{DRAFT_MARK}{uuid.uuid4().hex}")


def sync(path: Path) -> None:
    """Make sure that a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(draft: Path, target: Path) -> None:
    """Replace the target with the draft in one step that survives a crash; readers of the old file keep it."""
    sync(draft)
    draft.replace(target)
    sync(target.parent)


def remove_drafts(target: Path) -> list[Path]:
    """Delete drafts of the target that killed processes left, and give their paths."""
    left = sorted(target.parent.glob(f"{target.name}{DRAFT_MARK}*"))
    for draft in left:
        draft.unlink(missing_ok=True)
    return left


def remove_stillborn(database: Path) -> None:
    """Delete a database file whose creation a full disk or a kill cut off; it has never held anything.

    DuckDB would neither open it nor make it anew. Call it only where no other process may be creating the file.
    """
    if database.exists() and database.stat().st_size < HEADER_BYTES:
        database.unlink()


def write_text(target: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(target)
    try:
        draft.write_text(text, encoding="utf-8")
        put_in_place(draft, target)
    finally:
        draft.unlink(missing_ok=True)
