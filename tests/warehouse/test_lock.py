"""One run at a time: the second is told who works there, and a killed one leaves no lock."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warehouse.filling import at
from warehouse.lock import HomeBusyError, home_lock

ROOT = Path(__file__).parents[2]
HOLDING = """
import sys, time
from pathlib import Path
from warehouse.lock import home_lock
with home_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_works_there_since_when(tmp_path: Path) -> None:
    with (
        home_lock(tmp_path, "run", at("2026-01-05 09:30")),
        pytest.raises(HomeBusyError) as refused,
        home_lock(tmp_path),
    ):
        pass
    assert str(refused.value) == (
        f"milepost run, process {os.getpid()} since 2026-01-05 09:30:00 UTC, works in {tmp_path}."
        " Wait until it ends, or stop it; nothing was changed."
    )


def test_another_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    process = hold(tmp_path)
    try:
        with (
            pytest.raises(HomeBusyError, match=re.escape(f"process {process.pid} since 20")),
            home_lock(tmp_path),
        ):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with home_lock(tmp_path):
        pass


def test_it_is_free_after_use_and_after_an_error(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    with pytest.raises(ValueError, match="boom"), home_lock(home):
        raise ValueError("boom")
    with home_lock(home):
        pass
    with home_lock(home):
        pass
