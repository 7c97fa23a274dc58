"""How records lie in the spool's files: each with its length and a checksum, so that a torn end is seen."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from connectors.collector.records import RawRecord

#: Length of what follows the header, and its CRC-32.
_HEADER = struct.Struct("<II")
#: Microseconds since 1970, and the length of the key; then the key, then the value.
_RECORD = struct.Struct("<qI")
#: No record is longer; a longer length is damage.
_MOST = 64 * 1024 * 1024


def pack(records: Iterable[RawRecord]) -> bytes:
    """Write records as frames."""
    parts = []
    for key, value, received_at in records:
        content = _RECORD.pack(received_at, len(key)) + key + value
        parts.append(_HEADER.pack(len(content), zlib.crc32(content)))
        parts.append(content)
    return b"".join(parts)


def unpack(data: bytes) -> Iterator[tuple[RawRecord, int]]:
    """Read frames: records, each with the place behind it; ends at the first that isn't whole."""
    place = 0
    while place + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, place)
        start = place + _HEADER.size
        content = data[start : start + length]
        if length < _RECORD.size or len(content) < length or zlib.crc32(content) != checksum:
            return
        received_at, key_length = _RECORD.unpack_from(content)
        value_at = _RECORD.size + key_length
        place = start + length
        yield RawRecord(content[_RECORD.size : value_at], content[value_at:], received_at), place


def whole_bytes(file: Path) -> int:
    """Give the length of a file's whole frames."""
    end = 0
    with file.open("rb") as opened:
        while header := opened.read(_HEADER.size):
            if len(header) < _HEADER.size:
                break
            length, checksum = _HEADER.unpack(header)
            if not _RECORD.size <= length <= _MOST:
                break
            content = opened.read(length)
            if len(content) < length or zlib.crc32(content) != checksum:
                break
            end += _HEADER.size + length
    return end
