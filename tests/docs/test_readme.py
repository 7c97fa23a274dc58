"""What README and guides tell a newcomer to type works, and prints what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from milepost.parts.ports import free_port

ROOT = Path(__file__).parents[2]
COMMANDS = Path(sys.executable).parent


def fences(page):
    """Give the fenced blocks of a page: (info string, text)."""
    return re.findall(
        r"^```([^\n]*)\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def shell(script, folder, home):
    """Run a script as a newcomer would, with `milepost` on the path and an empty home folder."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MILEPOST_HOME", "COLUMNS", "CI")
    }
    environment |= {"PATH": f"{COMMANDS}:{environment['PATH']}", "HOME": str(home)}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_readmes_own_project_runs(tmp_path):
    script = next(
        text for _, text in fences("README.md") if "milepost init" in text and "milepost up" not in text
    )
    result = shell(script, tmp_path, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Awareness" in result.stdout


def test_the_readmes_mapping_runs_on_the_newcomers_rows(tmp_path):
    """The mapping of the README is a shorter one than `init` gives: it is tried in its place."""
    blocks = dict(fences("README.md"))
    assert shell("milepost init shop", tmp_path, tmp_path).returncode == 0
    (tmp_path / "shop" / "mappings" / "shop.sql").write_text(blocks["sql"])
    (tmp_path / "shop" / "milepost.yaml").write_text(blocks["yaml"])
    result = shell("cd shop && milepost map --source shop --show 3 && milepost run", tmp_path, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "site_visit" in result.stdout


def test_the_readmes_stream_shows_the_journey_of_a_real_client(tmp_path):
    """The README's port may be taken here: the project gets another one."""
    blocks = fences("README.md")
    script = next(text for _, text in blocks if "milepost up" in text)
    visit = dict(blocks)["python visit.py"]
    port = free_port()
    before, after = script.split("milepost up\n")
    assert shell(before, tmp_path, tmp_path).returncode == 0
    project = tmp_path / "shop"
    with (project / "milepost.yaml").open("a") as settings:
        settings.write(f"\ncollector: {{port: {port}}}\n")
    (project / "visit.py").write_text(visit.replace("8300", str(port)))
    try:
        result = shell(f"milepost up\n{after}", project, tmp_path)
    finally:
        shell("milepost down", project, tmp_path)
    assert result.returncode == 0, result.stderr
    shown = dict(blocks[blocks.index(("python visit.py", visit)) + 1 :])["text"]
    for line in (
        "1 conversions, booked EUR 42.50",
        "user:42 — cookie:a-7",
        "pricing_page_visit",
        "EUR 42.50",
    ):
        assert line in shown
        assert line in result.stdout


def test_the_first_mapping_guide_works_step_by_step(tmp_path):
    blocks = fences("docs/guides/first_mapping.md")
    scripts = [text for info, text in blocks if info == "sh"]
    assert "milepost init shop" in scripts[0]
    first = shell(scripts[0], tmp_path, tmp_path)
    assert first.returncode == 0, first.stderr
    project = tmp_path / "shop"
    for info, text in blocks:
        _, _, file = info.partition(" ")
        if file:
            (project / file).parent.mkdir(parents=True, exist_ok=True)
            (project / file).write_text(text)
    configuration = yaml.safe_load((project / "milepost.yaml").read_text())
    configuration["sources"] |= yaml.safe_load(next(text for info, text in blocks if info == "yaml"))
    (project / "milepost.yaml").write_text(yaml.safe_dump(configuration))
    for script in scripts[1:]:
        result = shell(script, project, tmp_path)
        assert result.returncode == 0, result.stderr
    assert "2 accepted" in shell("milepost run --rebuild", project, tmp_path).stdout or "ads" in result.stdout


@pytest.mark.demo
def test_the_demo_prints_what_the_readme_shows(tmp_path):
    shown = next(text for info, text in fences("README.md") if info == "text")
    result = shell("milepost demo", tmp_path, tmp_path)
    assert result.returncode == 0, result.stderr
    printed = result.stdout.replace(str(tmp_path), "~")
    assert [line.rstrip() for line in printed.strip().splitlines()] == [
        line.rstrip() for line in shown.strip().splitlines()
    ]
