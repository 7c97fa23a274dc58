"""`milepost init`: a newcomer's own project, small and commented, that runs at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from milepost.cli.console import out
from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode

TEMPLATE = Path(__file__).parents[1] / "templates" / "newcomer"


def init(folder: Annotated[Path, typer.Argument(help="A new or empty folder.")]) -> None:
    """Make a project of your own: a source, its mapping and a few rows, with comments that teach."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(
            f"{folder} is not empty",
            remedy="name a folder that is new; nothing was changed",
            code=ExitCode.USAGE,
        )
    shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True)
    out.print(
        f"A project that runs is in [b]{folder}[/b]. Its files teach by their comments:", soft_wrap=True
    )
    for file in sorted(TEMPLATE.rglob("*")):
        if file.is_file():
            out.print(f"  {folder / file.relative_to(TEMPLATE)}", soft_wrap=True)
    out.print("Next:")
    out.print(f"  cd {folder}", soft_wrap=True)
    out.print("  milepost map --source shop --show 5")
    out.print("  milepost run")
