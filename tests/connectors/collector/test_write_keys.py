"""Write keys: made, listed, rotated, retired; never kept in clear text."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.collector import write_keys
from connectors.collector.write_keys import (
    KEYS_FILE,
    KeyRing,
    create_write_key,
    hash_key,
    list_write_keys,
    retire_write_key,
)
from connectors.errors import KeyFileError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_keys, "RELOAD_SECONDS", 0.0)
    old, kept_old = create_write_key(tmp_path, "web", NOW, "first")
    ring = KeyRing(tmp_path, {})
    new, kept_new = create_write_key(tmp_path, "web", NOW)
    for key in (old, new):
        found = ring.find(key)
        assert found is not None
        assert found.source == "web"
    retire_write_key(tmp_path, kept_old.key_id, NOW)
    assert ring.find(old) is None
    assert ring.find(new) is not None
    assert ring.find("") is None
    assert ring.find("\ud800\0") is None
    listed = list_write_keys(tmp_path)
    assert [(key.key_id, key.retired_at is not None) for key in listed] == [
        (kept_old.key_id, True),
        (kept_new.key_id, False),
    ]
    with pytest.raises(KeyFileError, match="list the keys"):
        retire_write_key(tmp_path, "0" * 16, NOW)


def test_the_key_itself_is_nowhere(tmp_path: Path) -> None:
    key, made = create_write_key(tmp_path, "web", NOW)
    file = tmp_path / KEYS_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert key not in file.read_text()
    assert key not in repr(made)
    assert key not in repr(list_write_keys(tmp_path))
    assert len(key) >= 43


def test_a_key_with_the_same_beginning_of_its_hash_is_not_taken(tmp_path: Path) -> None:
    wrong = hash_key("k")[:16] + "0" * 48
    ring = KeyRing(tmp_path, {"MILEPOST_WRITE_KEYS": f"web:{wrong}"})
    assert ring.find("k") is None


def test_keys_from_the_environment(tmp_path: Path) -> None:
    pairs = f"web:{hash_key('one')}, web:{hash_key('two')} app:{hash_key('three')}"
    ring = KeyRing(tmp_path, {"MILEPOST_WRITE_KEYS": pairs})
    assert [key.source for name in ("one", "two", "three") if (key := ring.find(name))] == [
        "web",
        "web",
        "app",
    ]
    assert ring.find("four") is None
    for wrong in ("web", "web:key", f":{hash_key('x')}"):
        with pytest.raises(KeyFileError, match="SHA-256"):
            KeyRing(tmp_path, {"MILEPOST_WRITE_KEYS": wrong})


def test_files_that_others_can_read_or_that_are_broken(tmp_path: Path) -> None:
    create_write_key(tmp_path, "web", NOW)
    file = tmp_path / KEYS_FILE
    file.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        KeyRing(tmp_path, {})
    file.chmod(0o600)
    for text in ("", "[]", '{"keys": [{}]}', '{"keys": [{"source": "a", "sha256": "x"}]}'):
        file.write_text(text)
        with pytest.raises(KeyFileError, match="backup"):
            KeyRing(tmp_path, {})


def test_a_broken_file_leaves_the_keys_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_keys, "RELOAD_SECONDS", 0.0)
    key, _ = create_write_key(tmp_path, "web", NOW)
    ring = KeyRing(tmp_path, {})
    (tmp_path / KEYS_FILE).write_text("{")
    os.utime(tmp_path / KEYS_FILE, (1, 1))
    assert ring.find(key) is not None
