"""Where the commands print: text for people on one console, JSON for programs on standard output."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

#: The width of a page where output goes to a file or another program.
PAGE_WIDTH = 110


def _console(to_standard_error: bool) -> Console:
    stream = sys.stderr if to_standard_error else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PAGE_WIDTH
    return Console(stderr=to_standard_error, highlight=False, width=width)


#: Standard output, for what was asked for.
out = _console(to_standard_error=False)
#: Standard error, for progress, warnings and errors.
err = _console(to_standard_error=True)


def plain_table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """Make a table with a title and columns, those of `right` aligned to the right; made for eyes, not for boxes."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def print_json(value: Any) -> None:
    """Print one JSON document; times, which are UTC, and decimals become text."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=_text) + "\n")


def _text(value: object) -> str:
    # DuckDB gives times without their zone, Polars with it: programs are to see one form.
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return str(value)
