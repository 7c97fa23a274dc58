"""The command line `milepost`: one module per group of commands; slow imports are made on use."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from milepost import __version__
from milepost.cli import dead_letters, schema, stream, topics, write_keys
from milepost.cli.backfill import backfill
from milepost.cli.backup import backup, restore
from milepost.cli.console import out
from milepost.cli.doctor import doctor
from milepost.cli.erase import erase
from milepost.cli.errors import DEBUG_VARIABLE, explain
from milepost.cli.exit_codes import MEANINGS
from milepost.cli.init import init
from milepost.cli.journey import journey
from milepost.cli.manual import link, retract, unlink
from milepost.cli.map import map_source
from milepost.cli.replay_stream import replay
from milepost.cli.run import PASS_ON, demo, run
from milepost.cli.simulate import simulate
from milepost.cli.status import status
from milepost.cli.up import down, up

#: What a shell gives for a command that Ctrl-C ended.
INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Customer journeys from touchpoints: files in, audited six-stage journeys out.",
    epilog="Exit codes: " + "  ".join(f"[b]{int(code)}[/b] {meaning}" for code, meaning in MEANINGS.items()),
)


def _print_version(asked: bool) -> None:
    if asked:
        out.print(f"milepost {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Hold the options that belong to no command."""


#: Panel → its commands, each with examples; the order is that of `milepost --help`.
COMMANDS: dict[str, list[tuple[Callable[..., None], list[str]]]] = {
    "Run": [
        (
            run,
            ["milepost run", "milepost run --project shop --rebuild", "milepost run --direct_num_workers=2"],
        ),
        (demo, ["milepost demo"]),
        (
            up,
            [
                "milepost up",
                "milepost up --store postgresql://milepost@db.example/milepost",
                "milepost up --engine flink",
            ],
        ),
        (down, ["milepost down"]),
        (backfill, ["milepost backfill", "milepost backfill --source web"]),
        (replay, ["milepost replay --source web", "milepost replay --source web --from 2026-05-01"]),
    ],
    "Look": [
        (status, ["milepost status", "milepost status --json | jq .open_dead_letters"]),
        (map_source, ["milepost map --source shop --show 5"]),
        (
            journey,
            [
                "milepost journey email:ann@example.com",
                "milepost journey user:42 --json | jq .journey.status",
            ],
        ),
    ],
    "Correct": [
        (link, ["milepost link crm_contact:1042 email:ann@example.com --dry-run"]),
        (unlink, ["milepost unlink cookie:8f2 user:7 --reason 'a borrowed telephone' --dry-run"]),
        (retract, ["milepost retract 618c2bada5459ab78234266297638ff4 --dry-run"]),
        (erase, ["milepost erase email:ann@example.com --dry-run", "milepost erase email:ann@example.com"]),
    ],
    "Keep": [
        (backup, ["milepost backup /safe/milepost-2026-05-01.tar.zst"]),
        (restore, ["milepost restore /safe/milepost-2026-05-01.tar.zst --home ~/milepost-restored"]),
    ],
    "Set up": [
        (init, ["milepost init shop && cd shop && milepost run"]),
        (simulate, ["milepost simulate --customers 5000 --seed 7 --out market"]),
        (doctor, ["milepost doctor", "milepost doctor --json | jq '.[] | select(.status == \"wrong\")'"]),
    ],
}
#: Commands whose function cannot be called as they are.
NAMES = {"map_source": "map"}
#: Commands that pass on to Beam what they do not know.
PASSING_ON = (run, demo, backfill, replay)


def _examples(lines: list[str]) -> str:
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])


def _add_commands(
    target: typer.Typer, commands: dict[str, list[tuple[Callable[..., Any], list[str]]]]
) -> None:
    for panel, listed in commands.items():
        for command, examples in listed:
            name = NAMES.get(command.__name__, command.__name__)
            settings = PASS_ON if command in PASSING_ON else {}
            target.command(
                name, rich_help_panel=panel, epilog=_examples(examples), context_settings=settings
            )(command)


_add_commands(app, COMMANDS)
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel="Correct")
app.add_typer(stream.app, name="stream", rich_help_panel="Run")
app.add_typer(topics.app, name="topics", rich_help_panel="Set up")
app.add_typer(write_keys.app, name="write-keys", rich_help_panel="Set up")
app.add_typer(schema.app, name="schema", rich_help_panel="Set up")


def main() -> None:
    """Run the command line; a user's mistake ends with a message and an exit code, never with a traceback."""
    if not os.environ.get(DEBUG_VARIABLE):
        # Libraries log what nobody asked for, such as clouds that are not installed, and the tracebacks of errors
        # that are explained below.
        logging.disable(logging.ERROR)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        sys.exit(explain(error))
