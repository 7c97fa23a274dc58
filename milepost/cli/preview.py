"""What a fact would change: the tables with it and without it, compared row by row, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from rich.console import Console
from rich.markup import escape

from milepost.cli.console import plain_table
from milepost.rules import Rules
from milepost.stitch import stitch
from schemas.tables import Table, load_tables
from schemas.vocabulary import Vocabulary

Change = Literal["added", "removed", "changed"]
#: Rows of a table that are shown to people; --json has them all.
SHOWN_ROWS = 5


@dataclass(frozen=True)
class RowChange:
    """A row of a table that would change: its key, and column → (before, after) of what differs."""

    table: str
    change: Change
    key: dict[str, Any]
    columns: dict[str, tuple[Any, Any]]

    def as_json(self) -> dict[str, Any]:
        """Give it as a JSON document."""
        columns = {name: {"before": before, "after": after} for name, (before, after) in self.columns.items()}
        return {"table": self.table, "change": self.change, "key": self.key, "columns": columns}


def preview(
    facts: Mapping[str, pl.DataFrame], added: Mapping[str, pl.DataFrame], vocabulary: Vocabulary, rules: Rules
) -> list[RowChange]:
    """List the rows of the base tables that would change if facts came in.

    Args:
        facts: the facts that stand, by type, with the columns of the contracts.
        added: the facts that would come in, the same way.
        vocabulary: the words.
        rules: the settings.
    """
    with_them = {
        name: pl.concat([frame, added[name].select(frame.columns)]) if name in added else frame
        for name, frame in facts.items()
    }
    with_them |= {name: frame for name, frame in added.items() if name not in facts}
    before, after = stitch(facts, vocabulary, rules), stitch(with_them, vocabulary, rules)
    tables = load_tables()
    return [change for name in before for change in compare(tables[name], before[name], after[name])]


def compare(table: Table, before: pl.DataFrame, after: pl.DataFrame) -> list[RowChange]:
    """List the rows of a table that differ; `received_at` aside, which says nothing of the journey."""
    key = list(table.key)
    columns = [column.name for column in table.columns if column.name not in (*key, "received_at")]
    joined = before.join(after, on=key, how="full", suffix=" after", nulls_equal=True).sort(
        pl.coalesce(key[0], f"{key[0]} after"), maintain_order=True
    )
    differs = pl.any_horizontal(
        pl.col(key[0]).is_null() | pl.col(f"{key[0]} after").is_null(),
        *(~pl.col(name).eq_missing(pl.col(f"{name} after")) for name in columns),
    )
    changes: list[RowChange] = []
    for row in joined.filter(differs).iter_rows(named=True):
        was, is_now = row[key[0]] is not None, row[f"{key[0]} after"] is not None
        change: Change = "changed" if was and is_now else "removed" if was else "added"
        changes.append(
            RowChange(
                table=table.name,
                change=change,
                key={name: row[name] if was else row[f"{name} after"] for name in key},
                columns={
                    name: (row[name], row[f"{name} after"])
                    for name in columns
                    if row[name] != row[f"{name} after"]
                },
            )
        )
    return changes


def print_changes(changes: list[RowChange], console: Console) -> None:
    """Print the changes for people: counts per table, and the first rows of each."""
    if not changes:
        console.print("No row of any table would change.")
        return
    by_table: dict[str, list[RowChange]] = {}
    for change in changes:
        by_table.setdefault(change.table, []).append(change)
    counts = plain_table(
        "Rows that would change",
        "table",
        "added",
        "removed",
        "changed",
        right=("added", "removed", "changed"),
    )
    for name, listed in by_table.items():
        kinds = [change.change for change in listed]
        counts.add_row(name, *(f"{kinds.count(kind):,}" for kind in ("added", "removed", "changed")))
    console.print(counts)
    for name, listed in by_table.items():
        console.print(f"[b]{name}[/b]")
        for change in listed[:SHOWN_ROWS]:
            console.print(f"  {escape(_line(change))}", soft_wrap=True)
        if len(listed) > SHOWN_ROWS:
            console.print(f"  … and {len(listed) - SHOWN_ROWS:,} more (--json has them all)")


def _line(change: RowChange) -> str:
    key = ", ".join(str(value) for value in change.key.values())
    if change.change != "changed":
        # A retraction may be waiting, a link be refused: the status says what comes of it.
        status = change.columns.get("status", (None, None))[1]
        return f"{change.change} {key}{f', {status}' if status else ''}"
    parts = [f"{name}: {before} → {after}" for name, (before, after) in list(change.columns.items())[:4]]
    more = "" if len(change.columns) <= 4 else f", and {len(change.columns) - 4} more columns"
    return f"changed {key}: {'; '.join(parts)}{more}"
