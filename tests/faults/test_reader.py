"""Who has the warehouse open reads on, whole, while the next run publishes."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.conftest import Undisturbed
from tests.faults.runs import digests, start
from warehouse.definitions import open_warehouse
from warehouse.digest import table_digests
from warehouse.snapshot import SNAPSHOT


def test_a_reader_goes_on_reading_while_the_next_run_publishes(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    place = undisturbed.before(1, tmp_path)
    before, after = (run.state.snapshot for run in undisturbed.runs)
    with open_warehouse(place.home / SNAPSHOT, read_only=True) as reader:
        process = start(place, "run")
        while process.poll() is None:
            assert table_digests(reader) == before
            assert digests(place, SNAPSHOT) in (before, after), "a new reader sees a whole publication too"
            time.sleep(0.5)
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
        assert table_digests(reader) == before
    assert digests(place, SNAPSHOT) == after
