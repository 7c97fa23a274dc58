"""From what a mapping yields to the forms that facts need: one SELECT around the mapping."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from connectors.errors import MappingError
from connectors.ids import event_id_sql, quoted, quoted_name
from connectors.mapping.columns import Column, Form
from connectors.mapping.statement import ROW

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER"} | {
    "UBIGINT",
    "UHUGEINT",
    '"NULL"',
    "NULL",
}
_TIMES = {"TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S", "DATE"}
_ZONED = "TIMESTAMP WITH TIME ZONE"
_FLOATS = {"DOUBLE", "FLOAT"}
#: Beyond this many units an amount is far beyond what the contract check lets pass; it is cut there.
_AMOUNT_LIMIT = 9_000_000_000_000
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class _Yielded:
    file: str
    column: Column
    name: str
    type: str

    @property
    def sql(self) -> str:
        return quoted_name(self.name)

    @property
    def nested(self) -> bool:
        return self.type.endswith("[]") or self.type.startswith(("STRUCT", "MAP", "UNION"))

    def refuse(self, remedy: str) -> MappingError:
        return MappingError(f"{self.file}: {self.name} is {self.type}; {remedy}")


def conversion(
    file: str, chosen: list[tuple[Column, str, str]], system: str, zone: str, with_row: bool
) -> list[str]:
    """Write the projections that bring each yielded column into its form.

    The result has one column per chosen one, under the chosen column's name: text as VARCHAR (native ids as
    event_ids), lists as VARCHAR[], times as BIGINT microseconds in UTC, days as DATE, amounts as BIGINT
    micros; and `_row` where asked for.

    Raises:
        MappingError: a column has a type that can't be brought into its form without guessing.
    """
    projections = [f"CAST({ROW} AS BIGINT) AS {ROW}"] if with_row else []
    for column, name, kind in chosen:
        yielded = _Yielded(file, column, name, kind.upper())
        projections.append(f"{_convert(yielded, system, zone)} AS {quoted_name(column.name)}")
    return projections


def _convert(yielded: _Yielded, system: str, zone: str) -> str:
    column = yielded.column
    if column.form == "native":
        return event_id_sql(system, _text(yielded))
    if column.form == "time" or (column.name == "revision" and _is_time(yielded.type)):
        return f"epoch_us({_time(yielded, zone)})"
    if column.form == "day":
        return _day(yielded, zone)
    return _CONVERSIONS[column.form](yielded)


def _is_time(kind: str) -> bool:
    return kind in _TIMES or kind == _ZONED


def _text(yielded: _Yielded) -> str:
    if yielded.nested:
        raise yielded.refuse("yield one text")
    return f"nullif(trim(CAST({yielded.sql} AS VARCHAR)), '')"


def _texts(yielded: _Yielded) -> str:
    if not yielded.nested:
        return _text(yielded)
    if not yielded.type.endswith("[]"):
        raise yielded.refuse("yield a text or a list of texts")
    return f"CAST({yielded.sql} AS VARCHAR[])"


def _time(yielded: _Yielded, zone: str) -> str:
    if yielded.type == _ZONED:
        return yielded.sql
    if yielded.type not in _TIMES and yielded.type not in ('"NULL"', "NULL"):
        raise yielded.refuse(
            f"cast it to TIMESTAMP ({yielded.name}::TIMESTAMP), or use strptime or to_timestamp"
        )
    naive = f"CAST({yielded.sql} AS TIMESTAMP)"
    return naive if zone == "UTC" else f"timezone({quoted(zone)}, {naive})"


def _day(yielded: _Yielded, zone: str) -> str:
    if yielded.type == _ZONED:
        return f"CAST(timezone({quoted(zone)}, {yielded.sql}) AS DATE)"
    if yielded.type not in _TIMES and yielded.type not in ('"NULL"', "NULL"):
        raise yielded.refuse(f"cast it to DATE ({yielded.name}::DATE)")
    day = f"CAST({yielded.sql} AS DATE)"
    return f"CASE WHEN isfinite({day}) THEN {day} END"


def _amount(yielded: _Yielded) -> str:
    if yielded.type not in _INTEGERS and not yielded.type.startswith("DECIMAL"):
        raise yielded.refuse(
            f"money needs exact numbers: cast it to DECIMAL(18,6) ({yielded.name}::DECIMAL(18,6))"
            + (" before it is summed" if yielded.type in _FLOATS else "")
        )
    scale = re.fullmatch(r"DECIMAL\(\d+,\s*(\d+)\)", yielded.type)
    # As wide as the scale leaves room for: comparing must not overflow.
    limit = f"{_AMOUNT_LIMIT}"
    exact = f"CAST({yielded.sql} AS DECIMAL(25,6))"
    if scale is not None and int(scale.group(1)) > 24:
        raise yielded.refuse("that many decimals leave no room for units; cast it to DECIMAL(18,6)")
    return (
        f"CASE WHEN {yielded.sql} > {limit} THEN {_LARGEST} WHEN {yielded.sql} < -{limit} THEN -{_LARGEST} "
        f"ELSE CAST({exact} * 1000000 AS BIGINT) END"
    )


def _integer(yielded: _Yielded) -> str:
    if yielded.type not in _INTEGERS:
        raise yielded.refuse(f"cast it to BIGINT ({yielded.name}::BIGINT)")
    if yielded.type not in ("HUGEINT", "UHUGEINT", "UBIGINT"):
        return f"CAST({yielded.sql} AS BIGINT)"
    return (
        f"CASE WHEN {yielded.sql} > {_LARGEST} THEN {_LARGEST} WHEN {yielded.sql} < -{_LARGEST} "
        f"THEN -{_LARGEST} ELSE CAST({yielded.sql} AS BIGINT) END"
    )


def _json(yielded: _Yielded) -> str:
    if yielded.type == "VARCHAR":
        text = yielded.sql
        return f"CASE WHEN json_valid({text}) THEN {text} ELSE CAST(to_json({text}) AS VARCHAR) END"
    return f"CAST(to_json({yielded.sql}) AS VARCHAR)"


def _boolean(yielded: _Yielded) -> str:
    if yielded.type not in ("BOOLEAN", '"NULL"', "NULL"):
        raise yielded.refuse("cast it to BOOLEAN")
    return f"CAST({yielded.sql} AS BOOLEAN)"


_CONVERSIONS: dict[Form, Callable[[_Yielded], str]] = {
    "text": _text,
    "identifier": _text,
    "texts": _texts,
    "values": _texts,
    "amount": _amount,
    "integer": _integer,
    "boolean": _boolean,
    "json": _json,
}
