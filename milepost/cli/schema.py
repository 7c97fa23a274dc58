"""`milepost schema`: are today's contracts compatible with the releases, and with the vocabulary?"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from milepost.cli.console import out, print_json
from milepost.cli.exit_codes import ExitCode

app = typer.Typer(no_args_is_help=True, help="Check, synchronise and freeze the contracts in schemas/.")


@app.command(
    epilog="Examples:\n\n  milepost schema check\n\n  milepost schema check --json | jq '.faults[].remedy'"
)
def check(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Fail if today's schemas, words or tables do not fit a released version.

    Data of each release must be readable today (backward), and today's data by each release (forward).
    The enums of the schemas must be those of the vocabulary.
    """
    from schemas.releases import check_release, released_versions
    from schemas.sync import stale_schemas

    versions = released_versions()
    faults = [(version, fault) for version in versions for fault in check_release(version)]
    stale = sorted(stale_schemas())
    if as_json:
        print_json({"releases": versions, "stale": stale, "faults": [_row(*entry) for entry in faults]})
    else:
        for version, fault in faults:
            out.print(f"[red]{version}[/red] {escape(str(fault))}", soft_wrap=True)
        for name in stale:
            out.print(f"[red]{name}[/red]: its enums are not the vocabulary's. Remedy: milepost schema sync.")
        if not faults and not stale:
            against = ", ".join(versions) or "no release yet"
            out.print(f"[green]Compatible[/green] with {against}; enums are those of the vocabulary.")
    if faults or stale:
        raise typer.Exit(ExitCode.FAILED)


def _row(version: str, fault: Any) -> dict[str, str]:
    return {
        "release": version,
        "schema": fault.schema,
        "field": fault.field,
        "rule": fault.rule,
        "direction": fault.direction,
        "what": fault.what,
        "remedy": fault.remedy,
    }


@app.command(epilog="Example: add a kind to schemas/vocabulary.yaml, then\n\n  milepost schema sync")
def sync() -> None:
    """Rewrite the enums of the Avro schemas from the vocabulary."""
    from schemas.sync import sync_schemas

    changed = sync_schemas()
    out.print(f"Rewritten: {', '.join(changed)}." if changed else "Every enum is the vocabulary's already.")


@app.command(epilog="Example:\n\n  milepost schema freeze 0.1.0")
def freeze(
    version: Annotated[str, typer.Argument(help="The version that is released, such as 0.1.0.")],
) -> None:
    """Keep today's contracts as those of a release; `schema check` holds later ones to them."""
    from schemas.releases import ReleaseExistsError, freeze_release

    try:
        folder = freeze_release(version)
    except ReleaseExistsError as error:
        raise typer.BadParameter(f"{error}.") from error
    out.print(f"The contracts of {version} are in {folder}.", soft_wrap=True)
