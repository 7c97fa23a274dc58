"""The command line `milepost`: one module per group of commands; slow imports are made on use."""

from __future__ import annotations

import typer

from milepost.cli import schema
from milepost.cli.exit_codes import MEANINGS

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Customer journeys from touchpoints: files in, audited six-stage journeys out.",
    epilog="Exit codes: " + "  ".join(f"[b]{int(code)}[/b] {meaning}" for code, meaning in MEANINGS.items()),
)
app.add_typer(schema.app, name="schema")


def main() -> None:
    """Run the command line."""
    app()
