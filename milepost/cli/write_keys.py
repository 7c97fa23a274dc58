"""`milepost write-keys`: who may send events to the collector."""

from __future__ import annotations

from typing import Annotated

import typer

from milepost.cli.console import err, out, plain_table, print_json
from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode
from milepost.cli.options import HomeOption, JsonOption, ProjectOption, home_folder
from milepost.cli.stream import machine_of

app = typer.Typer(no_args_is_help=True, help="Make, list and retire the keys with which sources send events.")


@app.command(epilog="Example:\n\n  milepost write-keys create web --note 'shop front, since May'")
def create(
    source: Annotated[str, typer.Argument(help="The source whose events the key's holder sends.")],
    note: Annotated[str, typer.Option(help="What the key is for.")] = "",
    project: ProjectOption = None,
    home: HomeOption = None,
) -> None:
    """Make a key and print it: it is shown this once, and only its hash is kept.

    A source may have several. To replace one: make a new one, put it in use, then retire the old one. A running
    collector takes it within seconds.
    """
    from connectors.collector.write_keys import create_write_key
    from milepost.clock import now

    machine = machine_of(project, home)
    keyed = [name for name, known in machine.project.sources.items() if known.stream == "segment"]
    if source not in keyed:
        raise CommandError(
            f"{machine.project.file}: {source!r} is no source with `stream: segment`",
            remedy=f"name one of: {', '.join(keyed) or '(none yet)'}",
            code=ExitCode.USAGE,
        )
    key, made = create_write_key(machine.project.home, source, now(), note)
    err.print(f"A key for {source}, known as {made.key_id}. It is not shown again:")
    out.print(key, soft_wrap=True, highlight=False)


@app.command("list", epilog="Example:\n\n  milepost write-keys list")
def list_keys(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the keys of a home by their names; what is kept of them can't be sent with."""
    from connectors.collector.write_keys import list_write_keys

    keys = list_write_keys(home_folder(home))
    if as_json:
        print_json(
            [
                {
                    "key_id": key.key_id,
                    "source": key.source,
                    "created_at": key.created_at,
                    "note": key.note,
                    "retired_at": key.retired_at,
                }
                for key in keys
            ]
        )
        return
    if not keys:
        out.print("None. Make one: milepost write-keys create SOURCE")
        return
    table = plain_table(f"Write keys: {len(keys):,}", "name", "source", "made", "retired", "note")
    for key in keys:
        table.add_row(key.key_id, key.source, key.created_at[:19], (key.retired_at or "")[:19], key.note)
    out.print(table)


@app.command(epilog="Example:\n\n  milepost write-keys retire 4be1f0a29c3d5567")
def retire(
    key_id: Annotated[str, typer.Argument(help="The key's name, as `milepost write-keys list` shows it.")],
    home: HomeOption = None,
) -> None:
    """Take a key out of use; a running collector refuses it within seconds."""
    from connectors.collector.write_keys import retire_write_key
    from milepost.clock import now

    retired = retire_write_key(home_folder(home), key_id, now())
    out.print(f"The key {retired.key_id} of {retired.source} is retired.")
