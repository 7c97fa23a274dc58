"""What the doctor says of the key, and of the database whose facts it hashed, where a store is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from milepost.cli.errors import CommandError
from milepost.cli.findings import Finding, Place
from milepost.cli.options import store_in


def check_store(place: Place) -> Iterator[Finding]:
    """Can the database be read that the environment or a running stitch names, and what is in it?"""
    from warehouse.postgres.url import StoreUrlError, masked

    try:
        url = store_in(place.home, None)
        if url is None:
            return
        found = "holds facts" if _holds_facts(place.home, url) else "nothing is published there yet"
    except StoreUrlError as error:
        yield Finding("store", "wrong", str(error))
    except CommandError as error:
        yield Finding("store", "wrong", str(error), error.remedy)
    except ModuleNotFoundError as error:
        remedy = "pip install 'milepost[postgresql]'"
        yield Finding("store", "wrong", f"a store in PostgreSQL needs the package {error.name}", remedy)
    else:
        yield Finding("store", "ok", f"{masked(url)}: {found}")


def _holds_facts(home: Path, url: str) -> bool:
    from milepost.cli.warehouse import open_warehouse

    with open_warehouse(home, url) as database:
        ((made,),) = (
            row.values() for row in database.rows("SELECT to_regclass('journey.publications')::text")
        )
        if made is None:
            return False
        published = "SELECT EXISTS (SELECT FROM journey.publications WHERE facts > 0) AS published"
        return bool(database.rows(published)[0]["published"])


def check_key(place: Place) -> Iterator[Finding]:
    """Is the key there, whole, and readable by its owner only?"""
    from connectors.errors import KeyFileError
    from connectors.keys import KEY_FILE, load_key

    file = place.home / KEY_FILE
    if not file.exists():
        yield _judge_absence(place.home, file)
        return
    try:
        key = load_key(place.home)
    except KeyFileError as error:
        yield Finding("key", "wrong", str(error))
        return
    if file.stat().st_uid != os.getuid():
        yield Finding(
            "key", "advice", f"{file} belongs to another user", "give it to the user who runs Milepost"
        )
    yield Finding("key", "ok", f"{file} (fingerprint {key.key_id}), readable by its owner only")


def _judge_absence(home: Path, file: Path) -> Finding:
    """Say whether a key that is not there is missed: by a warehouse in the home, or by a database."""
    from warehouse.postgres.url import StoreUrlError

    remedy = "restore it with `milepost restore`; a new one makes strangers of everybody known"
    if (home / "warehouse.duckdb").exists():
        return Finding("key", "wrong", f"{file} is gone, and there is a warehouse", remedy)
    try:
        url = store_in(home, None)
        if url is not None and _holds_facts(home, url):
            return Finding("key", "wrong", f"{file} is gone, and the store's database holds facts", remedy)
    except (StoreUrlError, CommandError, ModuleNotFoundError):
        found = (
            f"{file} is not there, and the store can't be asked whether it holds facts that were made with it"
        )
        return Finding(
            "key", "advice", found, "see what is wrong with the store; if it holds facts, restore the key"
        )
    return Finding("key", "ok", "none yet; the first run makes it")
