"""The contracts of each release, kept in `released/VERSION/`, and the question whether today's still fit."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from schemas.compatibility import Fault, resolution_faults
from schemas.contracts import FACT_TYPES, SCHEMA_FOLDER
from schemas.yaml_files import load_yaml

RELEASED_FOLDER = SCHEMA_FOLDER / "released"
FACT_SCHEMAS = (*FACT_TYPES, "dead_letter")
SCHEMA_NAMES = (*FACT_SCHEMAS, "journey")
_COPIED = ("vocabulary.yaml", "tables.yaml")
#: Lists of the vocabulary whose words facts hold.
_WORD_LISTS = ("stages", "teams", "reaches", "channels", "namespaces", "kinds")


class ReleaseExistsError(Exception):
    """A release is frozen already, with other content."""


def released_versions(folder: Path = RELEASED_FOLDER) -> list[str]:
    """List the frozen versions, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted((entry.name for entry in folder.iterdir() if entry.is_dir()), key=_version_key)


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def check_release(version: str, today: Path = SCHEMA_FOLDER, folder: Path = RELEASED_FOLDER) -> list[Fault]:
    """List what of today's contracts does not fit those of a release, in both directions.

    Args:
        version: a frozen version.
        today: folder with today's `*.avsc`, `vocabulary.yaml` and `tables.yaml`.
        folder: folder with the releases.
    """
    release = folder / version
    faults: list[Fault] = []
    for path in sorted(release.glob("*.avsc")):
        current = today / path.name
        if not current.exists():
            faults.append(Fault(path.stem, "", "schema_removed", f"release {version} has it, today has not"))
            continue
        old, new = _json(path), _json(current)
        faults += resolution_faults(path.stem, old, new, "backward")
        faults += resolution_faults(path.stem, new, old, "forward")
    faults += vocabulary_faults(load_yaml(release / "vocabulary.yaml"), load_yaml(today / "vocabulary.yaml"))
    faults += table_faults(load_yaml(release / "tables.yaml"), load_yaml(today / "tables.yaml"))
    return faults


def vocabulary_faults(old: dict[str, Any], new: dict[str, Any]) -> list[Fault]:
    """List words that facts of the old vocabulary use and the new one does not know."""
    faults = [
        Fault("vocabulary", words, "word_removed", f"{word!r} is no longer listed")
        for words in _WORD_LISTS
        for word in old[words]
        if word not in new[words]
    ]
    kept = [stage for stage in new["stages"] if stage in old["stages"]]
    if kept != [stage for stage in old["stages"] if stage in kept]:
        faults.append(Fault("vocabulary", "stages", "order_changed", f"the order became {', '.join(kept)}"))
    return faults


def table_faults(old: dict[str, Any], new: dict[str, Any]) -> list[Fault]:
    """List what a reader of the old base tables would miss in the new ones; more columns are welcome."""
    faults: list[Fault] = []
    for name, table in old.items():
        if name not in new:
            faults.append(Fault("tables", name, "table_removed", "the table is no longer listed"))
            continue
        if table["key"] != new[name]["key"]:
            faults.append(
                Fault("tables", name, "key_changed", f"the key became {', '.join(new[name]['key'])}")
            )
        for column, (kind, *_) in table["columns"].items():
            place = f"{name}.{column}"
            today = new[name]["columns"].get(column)
            if today is None:
                faults.append(Fault("tables", place, "column_removed", "the column is no longer listed"))
            elif today[0] != kind:
                faults.append(Fault("tables", place, "column_type_changed", f"{kind} became {today[0]}"))
    return faults


def freeze_release(version: str, today: Path = SCHEMA_FOLDER, folder: Path = RELEASED_FOLDER) -> Path:
    """Copy today's contracts to `folder/version`; freezing the same again changes nothing.

    Raises:
        ReleaseExistsError: the version is frozen with other content; a release never changes.
    """
    release = folder / version
    names = [*(f"{name}.avsc" for name in SCHEMA_NAMES), *_COPIED]
    if release.exists():
        changed = [
            name
            for name in names
            if not (release / name).exists() or (release / name).read_bytes() != (today / name).read_bytes()
        ]
        if changed:
            raise ReleaseExistsError(
                f"release {version} is frozen with another {', '.join(changed)}; a release never changes. "
                "Choose the next version"
            )
        return release
    release.mkdir(parents=True)
    for name in names:
        shutil.copyfile(today / name, release / name)
    return release


def _json(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return parsed
