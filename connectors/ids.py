"""How facts get their ids: the first 128 bits of SHA-256 over the source and what names the fact there."""

from __future__ import annotations

import hashlib

import duckdb
import polars as pl

#: Stands between the source and what follows; no name holds it.
SEPARATOR = "\x1f"
#: Hexadecimal digits of an id: 128 bits.
ID_DIGITS = 32


def event_id(system: str, native_id: str) -> str:
    """Give the id of the fact that the source system calls `native_id`."""
    return hashlib.sha256(f"{system}{SEPARATOR}{native_id}".encode()).hexdigest()[:ID_DIGITS]


def quoted(text: str) -> str:
    """Write a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """Write a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def event_id_sql(system: str, native_id_sql: str) -> str:
    """Write `event_id` as a DuckDB expression; NULL where the native id is NULL."""
    return f"substr(sha256({quoted(system)} || chr({ord(SEPARATOR)}) || ({native_id_sql})), 1, {ID_DIGITS})"


def canonical_record_sql(columns: list[tuple[str, str]]) -> str:
    """Write the canonical JSON of a raw record as a DuckDB expression.

    Keys are in lower case and sorted, values are their texts, what is NULL is left out: the same record has
    the same bytes whatever the order of its columns and whichever transport brought it.
    """
    parts = [
        f"{quoted(_json_key(name.lower()))} || CAST(to_json(CAST({quoted_name(name)} AS VARCHAR)) AS VARCHAR)"
        for name, _ in sorted(columns, key=lambda column: column[0].lower())
    ]
    return "'{' || concat_ws(',', " + ", ".join(parts) + ") || '}'" if parts else "'{}'"


def record_digest_sql(system: str, columns: list[tuple[str, str]]) -> str:
    """Write the SHA-256 over (source, canonical raw record) as a DuckDB expression (64 hexadecimal digits)."""
    return f"sha256({quoted(system + SEPARATOR + SEPARATOR)} || {canonical_record_sql(columns)})"


def hash_texts(texts: pl.Series) -> pl.Series:
    """Give the first 128 bits of SHA-256 of each text (String, 32 hexadecimal digits; null stays null)."""
    frame = texts.alias("text").to_frame()
    with duckdb.connect() as connection:
        connection.register("texts", frame.to_arrow())
        hashed = connection.sql("SELECT substr(sha256(text), 1, 32) AS hash FROM texts")
        return pl.Series("hash", hashed.to_arrow_table().column("hash"), dtype=pl.String)


def _json_key(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}":'
