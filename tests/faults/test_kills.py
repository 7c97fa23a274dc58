"""A run that is killed at any moment costs a repeat and nothing else: the next one leaves what one alone leaves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Undisturbed
from tests.faults.runs import Place, digests, milepost, start, state
from warehouse.snapshot import SNAPSHOT

#: How many random moments, and how many syncs, a run is killed at.
SEEDS = int(os.environ.get("MILEPOST_TEST_SEEDS", "20"))
#: Run (0: first, 1: increment) and step before which it dies; the one between store and warehouse is in every test run.
STEPS = [(0, "commit"), (0, "published"), (1, "audit"), (1, "store"), (1, "done"), (1, "published")]


def assert_repaired(place: Place, undisturbed: Undisturbed, number: int) -> None:
    """A reader sees a whole publication at once, and the rerun leaves what an undisturbed run leaves."""
    if (place.home / SNAPSHOT).exists():
        assert digests(place, SNAPSHOT) in undisturbed.snapshots(number)
    rerun = milepost(place, "run")
    assert rerun.returncode == 0, rerun.stderr
    assert state(place) == undisturbed.runs[number].state


def die_there(place: Place, where: str) -> None:
    died = milepost(place, "run", program=("-m", "tests.faults.dying", where))
    assert died.returncode == -signal.SIGKILL, died.stderr


def test_killed_in_an_increment_between_store_and_warehouse(undisturbed: Undisturbed, tmp_path: Path) -> None:
    place = undisturbed.before(1, tmp_path)
    die_there(place, "commit")
    assert_repaired(place, undisturbed, 1)


@pytest.mark.faults
@pytest.mark.parametrize(("number", "step"), STEPS)
def test_killed_before_a_step_of_the_publication(
    number: int, step: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    place = undisturbed.before(number, tmp_path)
    die_there(place, step)
    assert_repaired(place, undisturbed, number)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(max(SEEDS // 4, 2)))
def test_killed_while_something_is_brought_to_the_disk(
    seed: int, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Two kills in a row: the repair may be cut off too."""
    chance = random.Random(seed)
    number = seed % 2
    place = undisturbed.before(number, tmp_path)
    die_there(place, f"sync:{chance.randint(1, undisturbed.runs[number].syncs)}")
    milepost(place, "run", program=("-m", "tests.faults.dying", f"sync:{chance.randint(1, 6)}"))
    assert_repaired(place, undisturbed, number)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_a_random_moment(seed: int, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The moments are spread over the whole duration, half of them over the first run, half over an increment."""
    number, share = seed % 2, (seed // 2 + random.Random(seed).random()) / -(-SEEDS // 2)
    moment = share * undisturbed.runs[number].seconds
    for attempt in range(5):
        place = undisturbed.before(number, tmp_path / str(attempt))
        if _killed(start(place, "run"), moment):
            break
        moment *= 0.9  # it was over before: no two runs take the same time
    else:
        pytest.fail("no run was still going on at its moment")
    assert_repaired(place, undisturbed, number)


def _killed(process: subprocess.Popen[str], moment: float) -> bool:
    """Kill a process once it has used so much processor time; False where it ended before."""
    while process.poll() is None:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") >= moment:
            process.kill()
            break
        time.sleep(0.005)
    process.communicate()
    return process.returncode == -signal.SIGKILL
