"""What the guide on streaming tells a newcomer to type works, from top to bottom."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from milepost.parts.jars import cache_folder
from milepost.parts.ports import free_port
from tests.docs.test_readme import fences, shell

GUIDE = "docs/guides/streaming.md"


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder with nothing but what was fetched before; what is started there is stopped."""
    monkeypatch.setenv("MILEPOST_CACHE", str(cache_folder()))
    yield tmp_path
    shell("milepost down", tmp_path, tmp_path)


@pytest.mark.faults
def test_the_guide_works_step_by_step(newcomer: Path) -> None:
    ports = {"8300": str(free_port()), "9092": str(free_port())}
    blocks = [
        (info, re.sub(r"\b(8300|9092)\b", lambda found: ports[found[0]], text))
        for info, text in fences(GUIDE)
    ]
    scripts = [text for info, text in blocks if info == "sh" and "db.example" not in text]
    assert [script.splitlines()[0].split()[0] for script in scripts] == [
        "milepost",
        "KEY=$(milepost",
        "milepost",
    ]

    listening = f"printf '\\ncollector: {{port: {ports['8300']}}}\\n' >> milepost.yaml"
    started = _type(scripts[0].replace("milepost up", f"{listening}\nmilepost up"), newcomer, newcomer)
    assert f"127.0.0.1:{ports['8300']}" in started
    project = newcomer / "shop"
    journey = _type(scripts[1], project, newcomer)
    assert '{"success":true}' in journey
    assert "booked EUR 49.90" in journey

    for info, text in blocks:
        kind, _, file = info.partition(" ")
        if kind in {"sql", "python"}:
            (project / file).write_text(text)
        elif kind == "yaml":
            _merge(project / file, text)
    ended = _type(scripts[2], project, newcomer)
    assert "booked EUR 62.40" in ended
    assert re.search(r"tills\s+map\s+bad_value\s+1", ended)


def _type(script: str, folder: Path, home: Path) -> str:
    done: subprocess.CompletedProcess[str] = shell(script, folder, home)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _merge(file: Path, text: str) -> None:
    settings, added = yaml.safe_load(file.read_text()), yaml.safe_load(text)
    settings["sources"] |= added.pop("sources")
    file.write_text(yaml.safe_dump(settings | added))
