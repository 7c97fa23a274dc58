"""What the doctor finds, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "advice", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What a check found, and what helps where something is to be done."""

    check: str
    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Place:
    """Where the doctor looks."""

    home: Path
    project: Path | None
