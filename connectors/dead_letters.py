"""Dead letters: inputs that a step rejected. This is the only place that makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from connectors.ids import ID_DIGITS, SEPARATOR
from connectors.sync import write_whole
from schemas.contracts import frame_schema

#: A larger payload goes to the raw zone.
LARGEST_PAYLOAD = 256 * 1024
#: Stands before the topic and partition where something came by stream, so that it is told from files.
STREAMED = "kafka:"


@dataclass(frozen=True)
class Reject:
    """An input that a step rejects.

    `error_class` is a word that programs can count by; `reason` says what is wrong and what helps, without
    personal data; `row` is the record's number in the file, None for a file as a whole.
    """

    error_class: str
    reason: str
    payload: bytes
    row: int | None = None


@dataclass(frozen=True)
class Place:
    """Where rejects come from: the source, the step, the file, and when it entered (microseconds, UTC)."""

    source: str
    step: str
    file: str
    received_at: int


def dead_letters(rejects: Sequence[Reject], place: Place, raw_zone: Path) -> pl.DataFrame:
    """Make dead letters (columns of `dead_letter.avsc`) of what a step rejects.

    Payloads over 256 KiB are written to the raw zone (`raw_zone/<sha256>`, owner only) and referred to.
    """
    letters = [_dead_letter(reject, place, raw_zone) for reject in rejects]
    return pl.DataFrame(letters, schema=_ROW_SCHEMA, orient="row").select(_columns())


_ROW_SCHEMA = {
    name: pl.Int64() if isinstance(kind, pl.Datetime) else kind
    for name, kind in frame_schema("dead_letter").items()
}


def _columns() -> list[pl.Expr]:
    utc = pl.Datetime("us", "UTC")
    return [pl.col(name).cast(utc) if name == "received_at" else pl.col(name) for name in _ROW_SCHEMA]


def _dead_letter(reject: Reject, place: Place, raw_zone: Path) -> dict[str, object]:
    digest = hashlib.sha256(reject.payload).hexdigest()
    where = place.file if reject.row is None else f"{place.file}:{reject.row}"
    spot = place.file if reject.row is None else f"{place.file}, row {reject.row}"
    reason = f"{spot}: {reject.reason}"
    payload: bytes | None = reject.payload
    if len(reject.payload) > LARGEST_PAYLOAD:
        keep_raw(raw_zone, digest, reject.payload)
        payload, where = None, f"raw/{digest} ({where})"
    named = SEPARATOR.join((place.source, place.step, digest, reason))
    return {
        "dead_letter_id": hashlib.sha256(named.encode(errors="replace")).hexdigest()[:ID_DIGITS],
        "source": place.source,
        "step": place.step,
        "error_class": reject.error_class,
        "reason": reason,
        "payload": payload,
        "payload_ref": where,
        "payload_sha256": digest,
        "received_at": place.received_at,
    }


def keep_raw(raw_zone: Path, digest: str, payload: bytes) -> Path:
    """Write a payload to the raw zone under its hash, readable by its owner only."""
    raw_zone.mkdir(parents=True, exist_ok=True, mode=0o700)
    raw_zone.chmod(0o700)
    file = raw_zone / digest
    if not file.exists():
        write_whole(file, payload)
    return file
