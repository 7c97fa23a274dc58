"""`milepost backup` and `milepost restore`: the store, the bus and the key, as one archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from milepost.cli.console import err, out, print_json
from milepost.cli.options import HomeOption, JsonOption, home_folder

ArchiveArgument = Annotated[Path, typer.Argument(help="The archive: its name ends with .tar.zst or .tar.gz.")]


def backup(archive: ArchiveArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Write everything that a home cannot make anew to an archive: store, bus, dead letters and the key.

    The archive holds the key: keep it as safe as the data. It overwrites nothing.
    """
    from milepost.cli.job import stitch_aside
    from warehouse.backup import backup as write_archive

    folder = home_folder(home)
    with stitch_aside(folder), err.status(f"backing up {folder}"):
        manifest = write_archive(folder, archive)
    _tell(manifest, f"{folder} is backed up in {archive}", as_json)


def restore(archive: ArchiveArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Bring a backup into an absent or empty home, and publish its warehouse."""
    from warehouse.backup import restore as read_archive

    folder = home_folder(home)
    with err.status(f"restoring {folder}"):
        manifest = read_archive(archive, folder)
    _tell(manifest, f"{archive} is restored in {folder}", as_json)


def _tell(manifest: Any, what: str, as_json: bool) -> None:
    if as_json:
        print_json(manifest.model_dump())
        return
    size = sum(file.size for file in manifest.files)
    out.print(f"{what}: {len(manifest.files):,} files, {size / 1024**2:,.1f} MiB.", soft_wrap=True)
