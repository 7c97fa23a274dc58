"""`milepost demo`: the main job on real data, in a home of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import milepost
from milepost.cli.errors import CommandError
from milepost.cli.options import home_folder

_PACKAGE = Path(milepost.__file__).parent
#: In a wheel the example is inside of the package, in a checkout beside it.
_PLACES = (_PACKAGE / "examples" / "complete_journey", _PACKAGE.parent / "examples" / "complete_journey")
_FILES = ("README.md", "mappings", "milepost.yaml", "prepare.py")


def demo_home(home: Path | None) -> Path:
    """Give the home of the demonstration: the one that is named, else one beside the user's own data."""
    if home is not None or os.environ.get("MILEPOST_HOME"):
        return home_folder(home)
    return home_folder(None) / "demo"


def prepare_demo(home: Path) -> Path:
    """Put the demonstration's project and data into the home, and give the project's folder.

    Raises:
        CommandError: the data are not installed.
    """
    example = next(place for place in _PLACES if place.is_dir())
    project = home / "project"
    project.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if (example / name).is_dir():
            shutil.copytree(example / name, project / name, dirs_exist_ok=True)
        else:
            shutil.copyfile(example / name, project / name)
    specification = importlib.util.spec_from_file_location("complete_journey", example / "prepare.py")
    if specification is None or specification.loader is None:
        raise CommandError(f"{example / 'prepare.py'} cannot be loaded", remedy="install Milepost anew")
    prepare = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(prepare)
    try:
        prepare.prepare(project / "data")
    except FileNotFoundError as error:
        raise CommandError(
            "the data of the demonstration are not installed",
            remedy="install them with `make install`, or with pip install 'milepost[examples]'",
        ) from error
    return project
