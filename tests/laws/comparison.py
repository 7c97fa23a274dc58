"""Tables of the heart and of the reference side by side, with differences that one can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from milepost.rules import Rules
from milepost.stitch import stitch
from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary
from tests.reference import Tables, reference_stitch
from tests.strategies import VOCABULARY, Facts, rows_of, to_frames

#: The tables that `stitch` makes: those that the digest covers.
TABLES = tuple(name for name, table in load_tables().items() if table.digest)


def heart(facts: Facts, rules: Rules, vocabulary: Vocabulary = VOCABULARY) -> Tables:
    """The fast heart's tables as rows, sorted by key; fails where a column or type is not the table's."""
    frames = stitch(to_frames(facts), vocabulary, rules)
    shapes = load_tables()
    assert set(frames) == set(TABLES), set(frames) ^ set(TABLES)
    for name, frame in frames.items():
        assert frame.schema == shapes[name].polars_schema, _schema_difference(name, frame)
    return sorted_tables(rows_of(frames))


def reference(facts: Facts, rules: Rules, vocabulary: Vocabulary = VOCABULARY) -> Tables:
    return reference_stitch(facts, vocabulary, rules)


def sorted_tables(tables: Tables, leave_out: tuple[str, ...] = ()) -> Tables:
    """Rows sorted by key, some columns left out."""
    shapes = load_tables()
    return {
        name: [
            {column: value for column, value in row.items() if column not in leave_out}
            for row in sorted(rows, key=lambda row: tuple(row[column] for column in shapes[name].key))
        ]
        for name, rows in tables.items()
    }


def _schema_difference(name: str, frame: pl.DataFrame) -> str:
    wanted = load_tables()[name].polars_schema
    return f"{name}: {dict(frame.schema)} is not {dict(wanted)}"


def differences(expected: Tables, got: Tables, most: int = 5) -> str:
    """The first differing rows of every table, column by column; empty where all are equal."""
    lines: list[str] = []
    for name in expected:
        key = load_tables()[name].key
        wanted_rows, got_rows = _by_key(expected[name], key), _by_key(got.get(name, []), key)
        if len(got_rows) != len(got.get(name, [])):
            lines.append(f"{name}: a key occurs twice")
        found = [
            line
            for identity in sorted(set(wanted_rows) | set(got_rows), key=str)
            for line in _row_differences(identity, wanted_rows.get(identity), got_rows.get(identity))
        ]
        if found:
            lines.append(f"{name}: {len(expected[name])} rows expected, {len(got.get(name, []))} got")
            lines += [f"    {line}" for line in found[:most]]
            lines += ["    …"] * (len(found) > most)
    return "\n".join(lines)


def _by_key(rows: list[dict[str, Any]], key: tuple[str, ...]) -> Mapping[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[column] for column in key): row for row in rows}


def _row_differences(
    identity: tuple[Any, ...], wanted: dict[str, Any] | None, got: dict[str, Any] | None
) -> list[str]:
    name = " ".join(str(part) for part in identity)
    if wanted is None:
        return [f"{name}: not expected: {got}"]
    if got is None:
        return [f"{name}: missing: {wanted}"]
    changed = [
        f"{column}: expected {wanted.get(column)!r}, got {got.get(column)!r}"
        for column in {**wanted, **got}
        if wanted.get(column) != got.get(column)
    ]
    return [f"{name}: {'; '.join(changed)}"] if changed else []


def assert_same(expected: Tables, got: Tables, note: str = "") -> None:
    found = differences(expected, got)
    assert not found, f"{note}\n{found}"
