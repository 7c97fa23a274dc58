"""A full disk stops a run with one message, and costs a repeat; a limit on the size of files stands for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.conftest import Undisturbed
from tests.faults.runs import digests, milepost, state
from warehouse.snapshot import SNAPSHOT


@pytest.mark.faults
@pytest.mark.parametrize(
    ("number", "limit"), [(0, 50_000), (0, 400_000), (0, 2_000_000), (1, 20_000), (1, 2_000_000)]
)
def test_a_full_disk_costs_a_repeat(
    number: int, limit: int, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    place = undisturbed.before(number, tmp_path)
    full = milepost(place, "run", limit=limit)
    assert full.returncode == 1
    assert "no room" in full.stderr or "make room" in full.stderr
    if (place.home / SNAPSHOT).exists():
        assert digests(place, SNAPSHOT) in undisturbed.snapshots(number)
    again = milepost(place, "run")
    assert again.returncode == 0, again.stderr
    assert state(place) == undisturbed.runs[number].state
