"""Encodes a frame's rows as Avro without making an object per row: column by column into one buffer.

The bytes of a row are those that any Avro writer makes of it; the tests hold them against fastavro's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.varints import compiled, varint_size, write_varint

Longs = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


_UTC = pl.Datetime("us", "UTC")


def plain_columns(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Give the schema's columns of a frame as they are encoded: timestamps as Int64, dates as Int32."""
    return frame.select(
        pl.col(column).cast(pl.Int64)
        if kind == _UTC
        else pl.col(column).cast(pl.Int32)
        if kind == pl.Date
        else pl.col(column)
        for column, kind in schema.items()
    )


def encode_rows(frame: pl.DataFrame, fields: list[dict[str, Any]]) -> bytes:
    """Encode the rows of a frame, one after the other.

    Args:
        frame: a column per field, under its name, see `plain_columns`.
        fields: the fields of an Avro record: null unions of, or plain, string, bytes, long, int, boolean,
            enum, and arrays of strings.
    """
    return encode_rows_apart(frame, fields)[0].tobytes()


def encode_rows_apart(
    frame: pl.DataFrame, fields: list[dict[str, Any]], prefix: bytes = b""
) -> tuple[Bytes, Longs]:
    """Encode the rows of a frame as `encode_rows` does, each after `prefix`.

    Returns:
        The bytes of all rows, and where each begins; one offset more than rows.
    """
    columns = [_column(frame[field["name"]], field["type"]) for field in fields]
    sizes = np.full(frame.height, len(prefix), np.int64)
    for kind, column in columns:
        _SIZE[kind](sizes, *column)
    offsets = np.zeros(frame.height + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    place = offsets[:-1].copy()
    for byte in prefix:
        out[place] = byte
        place += 1
    for kind, column in columns:
        _PUT[kind](out, place, *column)
    return out, offsets


def _column(values: pl.Series, avro: Any) -> tuple[str, tuple[Any, ...]]:
    """Bring a column to arrays: its kind, and what the functions of that kind take."""
    nullable = isinstance(avro, list)
    plain = next(branch for branch in avro if branch != "null") if nullable else avro
    kind = plain["type"] if isinstance(plain, dict) else plain
    if kind == "array":
        lists = values.fill_null([])
        counts = lists.list.len().cast(pl.Int64).to_numpy()
        items = lists.explode(keep_nulls=False, empty_as_null=False)
        return "list", (np.ascontiguousarray(counts), *_texts(items))
    given = np.ascontiguousarray(values.is_not_null().to_numpy())
    if not nullable and not given.all():
        raise ValueError(f"{values.name} has nulls, and its contract allows none")
    if kind in ("string", "bytes"):
        return "text", (nullable, given, *_texts(values))
    if kind == "enum":
        values = values.replace_strict(
            plain["symbols"], list(range(len(plain["symbols"]))), return_dtype=pl.Int64
        )
    numbers = np.ascontiguousarray(values.cast(pl.Int64).fill_null(0).to_numpy())
    return ("flag" if kind == "boolean" else "number"), (nullable, given, numbers)


def _texts(values: pl.Series) -> tuple[Longs, Bytes]:
    """Give the offsets (one more than values) and bytes of texts; a null is an empty one."""
    empty = b"" if values.dtype == pl.Binary else ""
    array = values.fill_null(empty).to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    places = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return places, np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)


@compiled
def _copy(out, at, data, start, end):  # type: ignore[no-untyped-def]
    at = write_varint(out, at, end - start)
    for place in range(start, end):
        out[at] = data[place]
        at += 1
    return at


@compiled
def _size_numbers(sizes, nullable, given, numbers):  # type: ignore[no-untyped-def]
    for row in range(sizes.size):
        if nullable:
            sizes[row] += 1
        if given[row]:
            sizes[row] += varint_size(numbers[row])


@compiled
def _put_numbers(out, place, nullable, given, numbers):  # type: ignore[no-untyped-def]
    for row in range(place.size):
        at = place[row]
        if nullable:
            at = write_varint(out, at, np.int64(given[row]))
        if given[row]:
            at = write_varint(out, at, numbers[row])
        place[row] = at


@compiled
def _size_flags(sizes, nullable, given, _numbers):  # type: ignore[no-untyped-def]
    for row in range(sizes.size):
        sizes[row] += np.int64(nullable) + np.int64(given[row])


@compiled
def _put_flags(out, place, nullable, given, numbers):  # type: ignore[no-untyped-def]
    for row in range(place.size):
        at = place[row]
        if nullable:
            at = write_varint(out, at, np.int64(given[row]))
        if given[row]:
            out[at] = np.uint8(numbers[row])
            at += 1
        place[row] = at


@compiled
def _size_texts(sizes, nullable, given, offsets, _data):  # type: ignore[no-untyped-def]
    for row in range(sizes.size):
        if nullable:
            sizes[row] += 1
        if given[row]:
            length = offsets[row + 1] - offsets[row]
            sizes[row] += varint_size(length) + length


@compiled
def _put_texts(out, place, nullable, given, offsets, data):  # type: ignore[no-untyped-def]
    for row in range(place.size):
        at = place[row]
        if nullable:
            at = write_varint(out, at, np.int64(given[row]))
        if given[row]:
            at = _copy(out, at, data, offsets[row], offsets[row + 1])
        place[row] = at


@compiled
def _size_lists(sizes, counts, offsets, _data):  # type: ignore[no-untyped-def]
    item = 0
    for row in range(sizes.size):
        sizes[row] += 1
        if counts[row] > 0:
            sizes[row] += varint_size(counts[row])
        for _ in range(counts[row]):
            length = offsets[item + 1] - offsets[item]
            sizes[row] += varint_size(length) + length
            item += 1


@compiled
def _put_lists(out, place, counts, offsets, data):  # type: ignore[no-untyped-def]
    item = 0
    for row in range(place.size):
        at = place[row]
        if counts[row] > 0:
            at = write_varint(out, at, counts[row])
        for _ in range(counts[row]):
            at = _copy(out, at, data, offsets[item], offsets[item + 1])
            item += 1
        place[row] = write_varint(out, at, np.int64(0))


_SIZE = {"number": _size_numbers, "flag": _size_flags, "text": _size_texts, "list": _size_lists}
_PUT = {"number": _put_numbers, "flag": _put_flags, "text": _put_texts, "list": _put_lists}
