"""Jars from Maven Central: locked by checksum, fetched once, kept whole in a cache.

A lock file has a jar a line: `group:artifact:version[:classifier] sha256 bytes`; `#` begins a comment.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from connectors.sync import write_whole
from milepost.parts.errors import PartError

MAVEN_CENTRAL = "https://repo1.maven.org/maven2"
#: Names another repository of the same layout, such as a company's mirror.
MAVEN_VARIABLE = "MILEPOST_MAVEN"
#: Names another folder for what was fetched.
CACHE_VARIABLE = "MILEPOST_CACHE"
DEFAULT_CACHE = Path("~/.cache/milepost/jars")

#: Is told after each jar how many bytes are there, of how many.
Progress = Callable[[int, int], None]

_LINE = re.compile(r"([\w.-]+):([\w.-]+):([\w.-]+)(?::([\w.-]+))? ([0-9a-f]{64}) (\d+)", re.ASCII)
_AT_ONCE = 8
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Jar:
    """A jar: its coordinates, the SHA-256 of its content (hexadecimal) and its size in bytes."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int
    classifier: str = ""

    def __str__(self) -> str:
        return ":".join(part for part in (self.group, self.artifact, self.version, self.classifier) if part)

    @property
    def path(self) -> str:
        """Where a Maven repository has it, and the cache."""
        name = "-".join(part for part in (self.artifact, self.version, self.classifier) if part)
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{name}.jar"


def load_lock(path: Path) -> tuple[Jar, ...]:
    """Load a lock file; raises PartError that names the line which is none."""
    jars = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        found = _LINE.fullmatch(text)
        if found is None or ".." in text:
            raise PartError(f"{path}:{number}: not `group:artifact:version sha256 bytes`; make the lock anew")
        group, artifact, version, classifier, sha256, size = found.groups()
        jars.append(Jar(group, artifact, version, sha256, int(size), classifier or ""))
    return tuple(jars)


def cache_folder() -> Path:
    """Give `$MILEPOST_CACHE`, else `~/.cache/milepost/jars`."""
    return Path(os.environ.get(CACHE_VARIABLE) or DEFAULT_CACHE).expanduser().absolute()


def repository() -> str:
    """Give `$MILEPOST_MAVEN`, else Maven Central, without a slash at its end."""
    return (os.environ.get(MAVEN_VARIABLE) or MAVEN_CENTRAL).rstrip("/")


def fetch_jars(jars: Sequence[Jar], progress: Progress | None = None) -> list[Path]:
    """Give the jars' files, fetching those that the cache lacks; with a full cache no network is needed.

    Args:
        jars: what a lock names.
        progress: is told after each jar, in the caller's thread.

    Returns:
        Their files in the order of `jars`, each verified now.

    Raises:
        PartError: a jar can't be fetched, or is not what the lock says; names the jar and the remedy.
    """
    folder, total, done = cache_folder(), sum(jar.size for jar in jars), 0
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="jars") as pool:
        running = {pool.submit(_have, jar, folder / jar.path): jar for jar in jars}
        try:
            for finished in as_completed(running):
                finished.result()
                done += running[finished].size
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [folder / jar.path for jar in jars]


def download(path: str) -> bytes:
    """Fetch a file of the repository, trying again when the network falters.

    Raises:
        PartError: it can't be fetched.
    """
    url = f"{repository()}/{path}"
    if not url.startswith(("https://", "http://")):
        raise PartError(f"{MAVEN_VARIABLE}={repository()}: not an http(s) address; correct it or unset it")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - http(s) only
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _ATTEMPTS:
                raise _unreachable(path, f"HTTP {error.code} {error.reason}") from error
        except (OSError, HTTPException, ValueError) as error:
            if attempt == _ATTEMPTS:
                raise _unreachable(path, str(getattr(error, "reason", error))) from error
        time.sleep(attempt)
    raise AssertionError("the last attempt returns or raises")


def _have(jar: Jar, file: Path) -> None:
    if _is_whole(jar, file):
        return
    content = download(jar.path)
    digest = hashlib.sha256(content).hexdigest()
    if (digest, len(content)) != (jar.sha256, jar.size):
        raise PartError(
            f"{jar}: {repository()} gave {len(content)} bytes with SHA-256 {digest}, the lock says {jar.size} "
            f"with {jar.sha256}; something between changes it: name a repository that does not in {MAVEN_VARIABLE}"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    except OSError as error:
        raise PartError(
            f"{jar}: can't be kept as {file}: {error.strerror}; make room or give rights there, "
            f"or name another folder in {CACHE_VARIABLE}"
        ) from error


def _is_whole(jar: Jar, file: Path) -> bool:
    try:
        if file.stat().st_size != jar.size:
            return False
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def _unreachable(path: str, cause: str) -> PartError:
    return PartError(
        f"{path.rpartition('/')[2]}: can't be fetched from {repository()}: {cause}; check the network (and "
        f"https_proxy), name a mirror in {MAVEN_VARIABLE}, or copy the files to {cache_folder()} from a machine "
        "that has them"
    )
