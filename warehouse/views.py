"""The views of the warehouse: one SQL file each, with what it means and what each column means at its head.

A file `marketing.funnel.sql` begins with comment lines: what a row is, then `grain:` with the columns that
identify a row, then each column with its meaning. Comments in the database, the reference pages and
`shared.definitions` derive from these lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from graphlib import TopologicalSorter
from pathlib import Path

import duckdb
from pydantic import BaseModel, ConfigDict

from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary, load_vocabulary

VIEWS_FOLDER = Path(__file__).with_name("views")

_REFERENCE = re.compile(r"\b(?:marketing|sales|shared)\.[a-z_]+\b")
_ENTRY = re.compile(r"^([a-z_0-9]+): (.+)$")


class View(BaseModel):
    """A view: its name with schema, what a row is, the columns that identify a row, its columns, its query."""

    model_config = ConfigDict(frozen=True)
    name: str
    doc: str
    grain: tuple[str, ...]
    columns: dict[str, str]
    sql: str

    @property
    def reads(self) -> frozenset[str]:
        """The other views that it reads."""
        code = re.sub(r"--.*", "", self.sql)
        return frozenset(_REFERENCE.findall(code)) - {self.name}


def parse_view(name: str, text: str) -> View:
    """Read a view from the text of its file; raises `ValueError` where the head misses a part."""
    lines = text.splitlines()
    head_length = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
    head = [line[2:].strip() for line in lines[:head_length]]
    paragraphs = [part.splitlines() for part in "\n".join(head).split("\n\n")]
    doc = " ".join(paragraphs[0])
    entries: dict[str, str] = {}
    last = ""
    for line in (line for paragraph in paragraphs[1:] for line in paragraph):
        if match := _ENTRY.match(line):
            last = match[1]
            entries[last] = match[2]
        elif last:
            entries[last] += " " + line
    grain = tuple(part.strip() for part in entries.pop("grain", "").split(",") if part.strip())
    if not doc or not grain or not entries:
        raise ValueError(f"View {name}: its head needs what a row is, `grain:` and every column.")
    sql = "\n".join(lines[head_length:]).strip().rstrip(";")
    return View(name=name, doc=doc, grain=grain, columns=entries, sql=sql)


@lru_cache(maxsize=1)
def load_views() -> dict[str, View]:
    """Load the views of the SQL files, each after those that it reads."""
    views = {
        path.stem: parse_view(path.stem, path.read_text(encoding="utf-8"))
        for path in sorted(VIEWS_FOLDER.glob("*.sql"))
    }
    order = TopologicalSorter({name: view.reads & views.keys() for name, view in views.items()})
    return {name: views[name] for name in order.static_order()}


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(value).upper()
    return "'" + str(value).replace("'", "''") + "'"


def _values_view(
    name: str, doc: str, grain: tuple[str, ...], columns: dict[str, str], rows: Iterable[Sequence[object]]
) -> View:
    values = ", ".join("(" + ", ".join(_literal(value) for value in row) + ")" for row in rows)
    names = ", ".join(f'"{column}"' for column in columns)
    return View(
        name=name,
        doc=doc,
        grain=grain,
        columns=columns,
        sql=f"SELECT * FROM (VALUES {values}) AS listed({names})",  # noqa: S608
    )


def vocabulary_views(vocabulary: Vocabulary) -> dict[str, View]:
    """Give the views that show the vocabulary's words, so that no query repeats them."""
    word = {"label": "Its name on pages.", "position": "Its place in the order, from 1."}
    stages = _values_view(
        "shared.stages",
        "One row a stage of the journey, in order.",
        ("stage",),
        {"stage": "The stage.", **word},
        [(stage, label, n) for n, (stage, label) in enumerate(vocabulary.stages.items(), 1)],
    )
    channels = _values_view(
        "shared.channels",
        "One row a channel.",
        ("channel",),
        {"channel": "The channel.", **word},
        [(channel, label, n) for n, (channel, label) in enumerate(vocabulary.channels.items(), 1)],
    )
    kinds = _values_view(
        "shared.kinds",
        "One row a kind of touchpoint.",
        ("kind",),
        {
            "kind": "The kind.",
            "stage": "The stage that it belongs to; NULL where it has none.",
            "channel": "Its channel unless the source says otherwise.",
            "team": "Its team unless the source says otherwise.",
            "reach": "Its reach unless the source says otherwise.",
            "amount": "What its amount is: `booked`, `expected`, `refunded` or `none`.",
            "links_only": "It only links identifiers, and counts as no touch.",
        },
        [
            (name, kind.stage, kind.channel, kind.team, kind.reach, kind.amount, kind.links_only)
            for name, kind in vocabulary.kinds.items()
        ],
    )
    return {view.name: view for view in (stages, channels, kinds)}


def _definitions_view(views: Iterable[View]) -> View:
    rows: list[tuple[object, ...]] = []
    for table in load_tables().values():
        name = f"journey.{table.name}"
        rows.append((name, None, table.doc, ", ".join(table.key)))
        rows.extend((name, column.name, column.doc, None) for column in table.columns)
    for view in views:
        rows.append((view.name, None, view.doc, ", ".join(view.grain)))
        rows.extend((view.name, column, doc, None) for column, doc in view.columns.items())
    return _values_view(
        "shared.definitions",
        "What every table, view and column means: one row a table or view, and one a column of it.",
        ("table_name", "column_name"),
        {
            "table_name": "The table or view, with its schema.",
            "column_name": "The column; NULL in the row of the table or view itself.",
            "definition": "What it means.",
            "grain": "Of a table or view: the columns that identify a row.",
        },
        rows,
    )


def all_views(vocabulary: Vocabulary | None = None) -> dict[str, View]:
    """Give every view by name, each after those that it reads."""
    views = {**vocabulary_views(vocabulary or load_vocabulary()), **load_views()}
    definitions = _definitions_view(views.values())
    return {**views, definitions.name: definitions}


def view_columns() -> dict[str, dict[str, str]]:
    """Give each view's columns with their meanings, for generated pages."""
    return {name: dict(view.columns) for name, view in all_views().items()}


def view_statements(vocabulary: Vocabulary | None = None) -> list[str]:
    """Give the statements that create or replace every view, with comments, in an order that works."""
    statements = []
    for view in all_views(vocabulary).values():
        schema, _, name = view.name.partition(".")
        target = f'"{schema}"."{name}"'
        statements.append(f"CREATE OR REPLACE VIEW {target} AS {view.sql}")
        statements.append(f"COMMENT ON VIEW {target} IS {_literal(view.doc)}")
        statements += [
            f'COMMENT ON COLUMN {target}."{column}" IS {_literal(doc)}'
            for column, doc in view.columns.items()
        ]
    return statements


def create_views(connection: duckdb.DuckDBPyConnection, vocabulary: Vocabulary | None = None) -> None:
    """Create or replace every view; the schemas and base tables must exist."""
    connection.execute(";\n".join(view_statements(vocabulary)))
