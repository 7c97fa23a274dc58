"""Makes a lock file of jars; for developers, needs Maven's `mvn`.

    python -m milepost.parts.lock_jars milepost/parts/kafka.lock GROUP:ARTIFACT:VERSION ...

The jars are those that the named ones need at run time, as Maven resolves them.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape

from milepost.parts.jars import Jar, download

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>milepost</groupId><artifactId>lock</artifactId><version>1</version>
<dependencies>{}</dependencies></project>"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


def resolve(roots: Sequence[str]) -> list[Jar]:
    """List the jars that the roots (`group:artifact:version`) need, theirs included; checksums are empty yet."""
    dependencies = "".join(_DEPENDENCY.format(*map(escape, root.split(":"))) for root in roots)
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "list.txt"
        (Path(folder) / "pom.xml").write_text(_POM.format(dependencies), encoding="utf-8")
        subprocess.run(  # noqa: S603 - the roots are what the developer types
            ["mvn", "-q", "-B", "dependency:list", "-DincludeScope=runtime", f"-DoutputFile={listed}"],  # noqa: S607
            cwd=folder,
            check=True,
        )
        lines = listed.read_text(encoding="utf-8").splitlines()
    jars = []
    for line in lines:
        parts = line.split(" -- ")[0].strip().split(":")
        if len(parts) in (5, 6) and parts[2] == "jar":
            classifier = parts[3] if len(parts) == 6 else ""
            jars.append(Jar(parts[0], parts[1], parts[-2], "", 0, classifier))
    return jars


def lock_text(roots: Sequence[str]) -> str:
    """Resolve the roots, fetch every jar and give the lock file's text, sorted."""

    def _locked(jar: Jar) -> Jar:
        content = download(jar.path)
        return replace(jar, sha256=hashlib.sha256(content).hexdigest(), size=len(content))

    with ThreadPoolExecutor(8) as pool:
        jars = list(pool.map(_locked, resolve(roots)))
    lines = sorted(f"{jar} {jar.sha256} {jar.size}" for jar in jars)
    return "\n".join([f"# {' '.join(roots)}", *lines, ""])


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    Path(sys.argv[1]).write_text(lock_text(sys.argv[2:]), encoding="utf-8")
