"""`milepost backup` and `milepost restore`: the store, the bus and the key, as one archive."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from milepost.cli.console import err, out, print_json
from milepost.cli.options import HomeOption, JsonOption, StoreOption, home_folder, store_in

ArchiveArgument = Annotated[Path, typer.Argument(help="The archive: its name ends with .tar.zst or .tar.gz.")]


def backup(
    archive: ArchiveArgument, home: HomeOption = None, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Write everything that a home cannot make anew to an archive: store, bus, dead letters and the key.

    The archive holds the key: keep it as safe as the data. It overwrites nothing. While the stream runs, Kafka's
    topics and the collector's spool are not in it, nor is a database at any time: it says so.
    """
    from milepost.cli.job import stitch_aside
    from warehouse.backup import backup as write_archive

    folder = home_folder(home)
    url = store_in(folder, store)
    with stitch_aside(folder), err.status(f"backing up {folder}"):
        manifest = write_archive(folder, archive, lambda: _left_out(folder, url))
    _tell(manifest, f"{folder} is backed up in {archive}", as_json)


def _left_out(home: Path, url: str | None) -> dict[str, str]:
    """Say what of a home can't be backed up as it is now, and what is elsewhere."""
    from milepost.parts.kafka_broker import KafkaBroker
    from milepost.parts.machine import part_of
    from warehouse.postgres.url import masked

    missing = {}
    if KafkaBroker(home / "kafka").process.is_alive():
        missing["kafka"] = (
            "Kafka runs. Records that are not mapped and facts that are not stitched yet are in its topics alone; "
            "`milepost down` first, and they are in the backup"
        )
    if part_of(home, "collector").is_alive() or _is_held(home / "spool" / ".lock"):
        missing["spool"] = (
            "the collector runs. Events that Kafka has not taken yet are there alone; `milepost down` first, and they "
            "are in the backup"
        )
    if url is not None:
        missing[masked(url)] = (
            "store and tables are in this database. Back it up too: `pg_dump --format=custom`"
        )
    return missing


def _is_held(lock: Path) -> bool:
    """Say whether a process holds a lock file."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


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
    for missing, why in manifest.left_out.items():
        out.print(f"[yellow]Not in it: {escape(missing)}[/yellow]: {escape(why)}.", soft_wrap=True)
