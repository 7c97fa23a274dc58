"""`milepost dead-letters`: what was rejected, why, and another try after a fix."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from milepost.cli.console import err, out, plain_table, print_json
from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode
from milepost.cli.options import HomeOption, JsonOption, ProjectOption, StoreOption, home_folder, store_in

app = typer.Typer(no_args_is_help=True, help="List, show, replay and dismiss what was rejected.")

SourceOption = Annotated[str | None, typer.Option("--source", help="Only those of this source.")]
STATUSES = ("open", "replayed", "dismissed")


@app.command(
    "list",
    epilog="Examples:\n\n  milepost dead-letters list --source shop\n\n  milepost dead-letters list --json | jq length",
)
def list_letters(
    source: SourceOption = None,
    status: Annotated[str, typer.Option(help="open, replayed, dismissed or all.")] = "open",
    show: Annotated[
        int, typer.Option("--show", min=1, help="How many to list; all of them are counted.")
    ] = 20,
    home: HomeOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, the newest first, after a count by source and kind of fault.

    They are read from the working copy or the database, so that they show even where an audit withholds the
    publication.
    """
    if status not in (*STATUSES, "all"):
        raise typer.BadParameter(f"{status} is none of {', '.join(STATUSES)}, all", param_hint="--status")
    folder = home_folder(home)
    letters = [
        letter
        for letter in _letters(folder, store_in(folder, store))
        if (source is None or letter["source"] == source) and status in ("all", letter["status"])
    ]
    if as_json:
        print_json(letters)
        return
    if not letters:
        out.print("None.")
        return
    counts: dict[tuple[str, str, str], int] = {}
    for letter in letters:
        fault = (letter["source"], letter["step"], letter["error_class"])
        counts[fault] = counts.get(fault, 0) + 1
    table = plain_table(
        f"Dead letters: {len(letters):,}", "source", "step", "fault", "how many", right=("how many",)
    )
    for fault, count in sorted(counts.items()):
        table.add_row(*fault, f"{count:,}")
    out.print(table)
    for letter in letters[:show]:
        out.print(f"[b]{letter['dead_letter_id'][:12]}[/b]  {escape(letter['reason'])}", soft_wrap=True)
    if len(letters) > show:
        out.print(f"… and {len(letters) - show:,} more; --show {len(letters)} lists them.")
    if any(letter["status"] == "open" for letter in letters):
        out.print(
            "\n`milepost dead-letters show ID --payload` prints the input. Correct the mapping and run again; "
            "after any other fix, `milepost dead-letters replay`."
        )


@app.command(epilog="Example:\n\n  milepost dead-letters show 3f9a01")
def show(
    dead_letter_id: Annotated[
        str, typer.Argument(help="The id, or as much of its beginning as tells it apart.")
    ],
    payload: Annotated[
        bool, typer.Option("--payload", help="Print the input too; it may hold clear text.")
    ] = False,
    home: HomeOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter; its input only if asked for, since it may hold personal data."""
    folder = home_folder(home)
    letter = _find(folder, dead_letter_id, store_in(folder, store))
    if payload:
        letter["payload"] = _payload(folder, letter)
    if as_json:
        print_json(letter)
        return
    for name, value in letter.items():
        out.print(f"[b]{name:<16}[/b] {escape(str(value))}", soft_wrap=True)


@app.command(epilog="Example: correct the mapping, then\n\n  milepost dead-letters replay --source shop")
def replay(
    source: SourceOption = None,
    project: ProjectOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the files once more whose records were rejected, and stitch what is good now.

    A run does so by itself where a mapping has changed; this is for a lookup, a file or a setting that was mended.
    """
    from milepost.cli.job import open_job
    from milepost.cli.replay import ask_again
    from milepost.cli.run import run_project

    folder = home_folder(home)
    with open_job(project, folder, "replay") as job:
        again, gone = ask_again(job, source)
    # To standard error: with --json, standard output is one document.
    err.print(f"Files read once more: {again:,}.")
    for path in gone:
        err.print(
            f"[yellow]{escape(path)}[/yellow] is gone or has changed since. What a changed file holds now is ingested "
            "like any other; `milepost dead-letters dismiss` closes what was rejected of the old one.",
            soft_wrap=True,
        )
    run_project(project, folder, as_json=as_json)


@app.command(
    epilog="Examples:\n\n  milepost dead-letters dismiss 3f9a01\n\n  milepost dead-letters dismiss --source shop"
)
def dismiss(
    dead_letter_id: Annotated[
        str | None, typer.Argument(help="The id, or as much of its beginning as tells it apart.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="All open ones of this source.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close dead letters that need nothing more, such as those of a file that was mended or taken away.

    They stay in `journey.dead_letters` with the status `dismissed`.
    """
    from milepost.cli.job import stitch_aside
    from milepost.cli.replay import dismiss_letters
    from milepost.clock import now
    from warehouse.lock import home_lock

    if (dead_letter_id is None) == (source is None):
        raise typer.BadParameter(
            "name either one dead letter or a source", param_hint="DEAD_LETTER_ID, --source"
        )
    folder = home_folder(home)
    with stitch_aside(folder), home_lock(folder, "dismissal", now()):
        letters = _letters(folder) if dead_letter_id is None else [_find(folder, dead_letter_id)]
        closed = [
            letter["dead_letter_id"]
            for letter in letters
            if letter["status"] == "open" and source in (None, letter["source"])
        ]
        dismiss_letters(folder, closed)
    if as_json:
        print_json({"dismissed": closed})
    else:
        out.print(f"Dismissed: {len(closed):,}.")


def _find(home: Path, beginning: str, store_url: str | None = None) -> dict[str, Any]:
    found = [letter for letter in _letters(home, store_url) if letter["dead_letter_id"].startswith(beginning)]
    if len(found) != 1:
        what = "no dead letter begins" if not found else f"{len(found)} dead letters begin"
        raise CommandError(
            f"{what} with {beginning}",
            remedy="`milepost dead-letters list` has the ids",
            code=ExitCode.USAGE,
        )
    return dict(found[0])


def _letters(home: Path, store_url: str | None = None) -> list[dict[str, Any]]:
    from milepost.cli.warehouse import open_warehouse, open_working_copy

    opened = open_working_copy(home) if store_url is None else open_warehouse(home, store_url)
    with opened as warehouse:
        return warehouse.rows("SELECT * FROM journey.dead_letters ORDER BY received_at DESC, dead_letter_id")


def _payload(home: Path, letter: dict[str, Any]) -> str:
    """Give the input of a dead letter, or say where it is."""
    from connectors.bus import DEAD_LETTERS, Bus, read_bus_file

    bus = Bus(home)
    where = str(letter["payload_ref"])
    if where.startswith("raw/"):
        with suppress(FileNotFoundError):
            return (bus.raw_zone / str(letter["payload_sha256"])).read_text(errors="replace")
    for path in bus.current_files(DEAD_LETTERS):
        letters = read_bus_file(path)
        found = letters.filter(letters["dead_letter_id"] == letter["dead_letter_id"])
        if found.height and found["payload"][0] is not None:
            return str(found["payload"][0].decode(errors="replace"))
    return _on_kafka(where) or "no longer kept"


def _on_kafka(where: str) -> str | None:
    """Say where on Kafka the input is, where it came from there."""
    from connectors.dead_letters import STREAMED

    _, streamed, place = where.removesuffix(")").rpartition(STREAMED)
    partition, _, offset = place.rpartition(":")
    topic, slash, number = partition.rpartition("/")
    if not streamed or not slash:
        return None
    return f"on Kafka, as long as retention keeps it: topic {topic}, partition {number}, offset {offset}"
