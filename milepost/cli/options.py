"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: Where the data lives. Left out, it is the default home.
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="MILEPOST_HOME",
        help="Where the data lives; ~/.local/share/milepost unless given.",
    ),
]
ProjectOption = Annotated[
    Path | None,
    typer.Option(
        "--project",
        help="milepost.yaml, or the folder that holds it; unless given, the present folder's, else the home's own.",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="MILEPOST_STORE",
        help="postgresql://… keeps facts and tables in PostgreSQL; unless given, files in the home do.",
        show_envvar=True,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def store_url(store: str | None) -> str | None:
    """Give the URL of the store that an option, the environment or a file of the environment names; None for files."""
    from warehouse.postgres.url import find_store_url

    return find_store_url(store)


def store_in(home: Path, store: str | None) -> str | None:
    """Give the URL of the store that is meant: the one named, else the one that a running stitch of the home uses."""
    from milepost.parts.machine import store_of_stitch

    return store_url(store) or store_of_stitch(home)


def home_folder(home: Path | None) -> Path:
    """Give the home that an option names, else the default one."""
    from milepost.project import default_home

    return home.expanduser().absolute() if home is not None else default_home()
