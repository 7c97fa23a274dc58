"""The files of `deploy/`, read as the tools that use them read them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

import milepost

DEPLOY = Path(__file__).parents[2] / "deploy"
TEMPLATE = Path(milepost.__file__).parent / "templates" / "newcomer"


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def project_with(configuration: str, folder: Path) -> Path:
    """Make a project as the pages say: what `milepost init` makes, with a configuration of `deploy/`."""
    shutil.copytree(TEMPLATE, folder)
    shutil.copy(DEPLOY / configuration, folder / "milepost.yaml")
    return folder
