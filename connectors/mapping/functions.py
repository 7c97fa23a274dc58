"""Which of DuckDB's functions a mapping may use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import duckdb

#: Functions that read the clock, or what is outside of the record, though DuckDB lists them as constant.
_UNSTEADY = (
    "current_localtime",
    "current_localtimestamp",
    "getenv",
    "getvariable",
    "query",
    "query_table",
    "reservoir_quantile",
)
#: Words that read the clock without parentheses.
CLOCK_WORDS = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
#: The functions that may stand after FROM.
TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series", "json_each", "json_tree"})


@dataclass(frozen=True)
class Catalogue:
    """Names of functions, in lower case."""

    unsteady: frozenset[str]
    aggregates: frozenset[str]
    windows: frozenset[str]


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """Read the catalogue of the DuckDB that runs here."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT lower(function_name), function_type, stability, macro_definition FROM duckdb_functions()"
        ).fetchall()
    unsteady = {name for name, _, stability, _ in rows if stability not in (None, "CONSISTENT")}
    unsteady.update(_UNSTEADY)
    macros = {(name, definition.lower()) for name, _, _, definition in rows if definition}
    while True:
        # A macro that calls an unsteady function, or the macro that does, is unsteady as well.
        calls = re.compile(r"\b(?:" + "|".join(map(re.escape, sorted(unsteady - {"error"}))) + r")\"?\(")
        found = {
            name
            for name, definition in macros
            if calls.search(definition) or CLOCK_WORDS & set(re.findall(r"\w+", definition))
        }
        if found <= unsteady:
            break
        unsteady |= found
    return Catalogue(
        unsteady=frozenset(unsteady),
        aggregates=frozenset(name for name, kind, _, _ in rows if kind == "aggregate"),
        windows=frozenset(name for name, kind, _, _ in rows if kind == "window"),
    )
