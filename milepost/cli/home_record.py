"""What a home remembers of the project that fills it, for commands that are given the home alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from milepost.project import RAW_DAYS, Project
from warehouse.files import write_text

_FILE = "project.json"


def remember_project(home: Path, project: Project) -> None:
    """Write down whose home it is, and how long its raw zone is kept."""
    record = {"project": str(project.root), "raw_days": project.raw_days}
    write_text(home / _FILE, json.dumps(record) + "\n")


def owner(home: Path) -> Path | None:
    """Give the folder of the project that the home belongs to; None where it is not known."""
    found = _read(home).get("project")
    return Path(found) if isinstance(found, str) else None


def raw_days(home: Path) -> int:
    """Give for how many days the home's raw zone is kept, as the last run's project said."""
    found = _read(home).get("raw_days")
    return found if isinstance(found, int) else RAW_DAYS


def _read(home: Path) -> dict[str, Any]:
    try:
        record = json.loads((home / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
