"""Keeps a small home of the present version for later versions' migration tests: `python -m tests.released.keep`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from milepost import __version__

FOLDER = Path(__file__).parent


def keep() -> Path:
    """Run the newcomer's project of the present version in a new home, and keep a backup of it."""
    target = FOLDER / f"home-{__version__}.tar.zst"
    with tempfile.TemporaryDirectory() as scratch:
        project, home = f"{scratch}/shop", f"{scratch}/home"
        for words in (
            ["init", project],
            ["run", "--project", project, "--home", home],
            ["unlink", "cookie:c-104", "email:cleo@example.com", "--project", project, "--home", home],
            ["erase", "email:ben@example.com", "--project", project, "--home", home],
            ["backup", f"{scratch}/{target.name}", "--home", home],
        ):
            subprocess.run([sys.executable, "-m", "milepost", *words], check=True)
        target.write_bytes(Path(scratch, target.name).read_bytes())
    return target


if __name__ == "__main__":
    sys.stdout.write(f"{keep()}\n")
