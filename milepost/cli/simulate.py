"""`milepost simulate`: a market that never was, with the truth beside it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from milepost.cli.console import out, print_json
from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode
from milepost.cli.options import JsonOption
from milepost.cli.progress import steps_shown


def simulate(
    folder: Annotated[Path, typer.Option("--out", help="Folder to write the project to.")] = Path(
        "simulated"
    ),
    customers: Annotated[int, typer.Option(min=1, help="How many people; about 14 touchpoints each.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Write a simulated market as a project that runs, with the true customer of every identifier.

    B2B and B2C over several years through all kinds: anonymous cookies that later identify, shared devices,
    duplicates, disorder, late arrivals, spend, refunds and churn. `milepost run` there measures the stitching.
    """
    from milepost.simulate import simulate as write_market

    try:
        with steps_shown() as tell:
            written = write_market(customers, seed, folder, progress=tell)
    except FileExistsError as error:
        raise CommandError(str(error), code=ExitCode.USAGE) from error
    if as_json:
        print_json(asdict(written))
        return
    out.print(
        f"{written.customers:,} people and {written.accounts:,} accounts left {written.touchpoints:,} touchpoints "
        f"in {written.records:,} records under {written.identifiers:,} identifiers."
    )
    out.print(f"The truth is in {written.truth}.", soft_wrap=True)
    out.print(f"Next: [b]milepost run --project {written.project}[/b]", soft_wrap=True)
