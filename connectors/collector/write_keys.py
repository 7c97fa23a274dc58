"""Write keys: who holds one may send as its source. Only their hashes are kept.

A source may have several, so that a new one is in use everywhere before the old one is retired.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from connectors.errors import KeyFileError
from connectors.sync import write_whole

KEYS_FILE = "write_keys.json"
#: `source:hash` pairs, separated by commas or spaces; the hash is the key's SHA-256 in hexadecimal digits.
KEYS_VARIABLE = "MILEPOST_WRITE_KEYS"
#: Seconds after which a changed file is read again.
RELOAD_SECONDS = 1.0

_ID_DIGITS = 16
_HASH = re.compile(r"[0-9a-f]{64}")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriteKey:
    """What is known of a write key; the key itself isn't."""

    source: str
    sha256: str
    created_at: str = ""
    note: str = ""
    retired_at: str | None = None

    @property
    def key_id(self) -> str:
        """A name for the key that gives nothing of it away."""
        return self.sha256[:_ID_DIGITS]


def hash_key(key: str) -> str:
    """Give the SHA-256 of a write key (64 hexadecimal digits)."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def create_write_key(home: Path, source: str, now: datetime, note: str = "") -> tuple[str, WriteKey]:
    """Make a key for a source; the key is in the answer and nowhere else.

    Raises:
        KeyFileError: the file of keys can't be used.
    """
    key = secrets.token_urlsafe(32)
    made = WriteKey(source, hash_key(key), now.isoformat(), note)
    with _locked(home):
        _save(home, [*_load(home), made])
    return key, made


def list_write_keys(home: Path) -> list[WriteKey]:
    """Give all keys of a home, the retired ones too, in the order of their making; raises KeyFileError."""
    return _load(home)


def retire_write_key(home: Path, key_id: str, now: datetime) -> WriteKey:
    """Take a key out of use; a running collector stops taking it within some seconds.

    Raises:
        KeyFileError: there is no such key, or the file of keys can't be used.
    """
    with _locked(home):
        keys = _load(home)
        found = next((key for key in keys if key.key_id == key_id), None)
        if found is None:
            raise KeyFileError(f"no write key {key_id}; list the keys to see their ids")
        retired = WriteKey(
            found.source, found.sha256, found.created_at, found.note, found.retired_at or now.isoformat()
        )
        _save(home, [retired if key.key_id == key_id else key for key in keys])
    return retired


class KeyRing:
    """The keys in use, from the home's file and from the environment; a changed file is read again."""

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        """Read both; raises KeyFileError where one can't be used."""
        self._file = home / KEYS_FILE
        self._home = home
        self._given = _from_environment(os.environ if environment is None else environment)
        self._stamp = self._stamp_now()
        self._keys = self._read()
        self._look_again = time.monotonic() + RELOAD_SECONDS

    def find(self, key: str) -> WriteKey | None:
        """Give what a presented key stands for; None for one that isn't or is no longer in use."""
        if time.monotonic() >= self._look_again:
            self._reload()
        presented = hash_key(key)
        # Found by a part of its hash, which tells a guesser nothing, and compared in constant time.
        known = self._keys.get(presented[:_ID_DIGITS])
        if known is None or not hmac.compare_digest(known.sha256, presented):
            return None
        return known

    def _reload(self) -> None:
        self._look_again = time.monotonic() + RELOAD_SECONDS
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        try:
            self._keys = self._read()
        except KeyFileError as error:
            _logger.error("write keys stay as they were: %s", error)
        self._stamp = stamp

    def _read(self) -> dict[str, WriteKey]:
        keys = [*self._given, *_load(self._home)]
        return {key.key_id: key for key in keys if key.retired_at is None}

    def _stamp_now(self) -> tuple[int, int] | None:
        try:
            state = self._file.stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_ino


def _from_environment(environment: Mapping[str, str]) -> list[WriteKey]:
    keys = []
    for pair in re.split(r"[\s,]+", environment.get(KEYS_VARIABLE, "").strip()):
        source, colon, digest = pair.partition(":")
        if not pair:
            continue
        if not colon or not source or not _HASH.fullmatch(digest):
            raise KeyFileError(
                f"{KEYS_VARIABLE}: write source:hash pairs, where the hash is the key's SHA-256 in 64 lower-case "
                "hexadecimal digits"
            )
        keys.append(WriteKey(source, digest, note=f"from {KEYS_VARIABLE}"))
    return keys


def _load(home: Path) -> list[WriteKey]:
    file = home / KEYS_FILE
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise KeyFileError(f"{file}: can't be read: {error.strerror}; make its owner this user") from error
    with os.fdopen(descriptor, "rb") as opened:
        mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
        text = opened.read()
    if mode & 0o077:
        raise KeyFileError(f"{file}: others can read it (mode {mode:04o}); run: chmod 600 {file}")
    try:
        keys = [WriteKey(**entry) for entry in json.loads(text)["keys"]]
    except (ValueError, TypeError, KeyError) as error:
        raise KeyFileError(f"{file}: not a list of write keys; restore it from a backup") from error
    if not all(isinstance(key.sha256, str) and _HASH.fullmatch(key.sha256) for key in keys):
        raise KeyFileError(f"{file}: a hash is not 64 hexadecimal digits; restore it from a backup")
    return keys


def _save(home: Path, keys: list[WriteKey]) -> None:
    content = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1).encode() + b"\n"
    write_whole(home / KEYS_FILE, content)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(home / f".{KEYS_FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
