"""What bad input gets: a message with source, file and row, its dead letter, and no loss."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from milepost.cli.exit_codes import ExitCode
from tests.bad_input.shop import FILES, LINES, ROWS, VANISHING, mend, write_shop
from tests.faults.runs import Place, letters, milepost, shared, start
from warehouse.definitions import WORKING_COPY, open_warehouse
from warehouse.embedded.store import EmbeddedStore


@dataclass(frozen=True)
class Said:
    """What a run said, with which exit code, and what it left."""

    code: int
    stdout: str
    stderr: str
    open_letters: list[dict[str, Any]]
    booked: list[int]
    visitors: list[str]


@dataclass(frozen=True)
class Story:
    """Runs over bad input, in one home: on a full disk, whole with a second one beside it, and after mending."""

    place: Place
    full_disk: Said
    fed: Said
    second: Said
    listed: str
    mended: Said


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return shared(tmp_path_factory, "bad_input", _tell)


def _tell(folder: Path) -> Story:
    place = Place(folder / "project", folder / "home")
    write_shop(place.project)
    full = milepost(place, "run", limit=2_000)
    full_disk = Said(full.returncode, full.stdout, full.stderr, [], [], [])
    vanishing = ("-m", "tests.bad_input.vanishing", VANISHING)
    first = start(place, "run", program=vanishing)
    _wait_until_locked(place)
    beside = milepost(place, "run")
    second = Said(beside.returncode, beside.stdout, beside.stderr, [], [], [])
    stdout, stderr = first.communicate(timeout=300)
    fed = _look(place, first.returncode, stdout, stderr)
    listed = milepost(place, "dead-letters", "list", "--show", "100").stdout
    mend(place.project)
    again = milepost(place, "run")
    return Story(
        place, full_disk, fed, second, listed, _look(place, again.returncode, again.stdout, again.stderr)
    )


def _wait_until_locked(place: Place) -> None:
    until = time.monotonic() + 60
    lock = place.home / "run.lock"
    while not (lock.exists() and lock.read_text().strip("\0 \n")):
        assert time.monotonic() < until, "the first run never began"
        time.sleep(0.02)


def _look(place: Place, code: int, stdout: str, stderr: str) -> Said:
    with open_warehouse(place.home / WORKING_COPY, read_only=True) as warehouse:
        booked = warehouse.execute("SELECT amount_micros FROM journey.conversions ORDER BY ALL").fetchall()
        visitors = warehouse.execute(
            "SELECT value FROM journey.identities WHERE namespace = 'cookie' ORDER BY value"
        ).fetchall()
    return Said(
        code, stdout, stderr, letters(place), [row[0] for row in booked], [row[0] for row in visitors]
    )


def _bad(rows: dict[int, tuple[str | None, bytes]]) -> list[Any]:
    return [
        pytest.param(row, error_class, id=f"{row}-{error_class}")
        for row, (error_class, _) in rows.items()
        if error_class is not None
    ]


def _assert_told(story: Story, source: str, file: str, row: int, error_class: str) -> None:
    found = [
        letter
        for letter in story.fed.open_letters
        if letter["payload_ref"].strip(")").endswith(f"{file}:{row}")
    ]
    assert [(letter["source"], letter["error_class"]) for letter in found] == [(source, error_class)]
    assert found[0]["reason"].startswith(f"{file}, row {row}: ")
    assert found[0]["reason"] in story.listed


@pytest.mark.parametrize(("row", "error_class"), _bad(ROWS))
def test_a_bad_csv_row_is_a_dead_letter_that_names_it(row: int, error_class: str, story: Story) -> None:
    _assert_told(story, "orders", "data/orders/rows.csv", row, error_class)


@pytest.mark.parametrize(("row", "error_class"), _bad(LINES))
def test_a_bad_json_line_is_a_dead_letter_that_names_it(row: int, error_class: str, story: Story) -> None:
    _assert_told(story, "visits", "data/visits/lines.jsonl", row, error_class)


@pytest.mark.parametrize("file", FILES)
def test_a_bad_file_is_named_with_its_source_and_the_exit_code_says_so(file: str, story: Story) -> None:
    source = "costs" if file == "data/costs.csv" else "orders"
    assert story.fed.code == ExitCode.INPUTS_REJECTED
    assert f"{source}: {file}: {FILES[file]}" in story.fed.stderr
    found = [letter for letter in story.fed.open_letters if letter["payload_ref"] == file]
    assert [(letter["source"], letter["error_class"]) for letter in found] == [(source, FILES[file])]


def test_the_good_rows_land(story: Story) -> None:
    orders = sum(error_class is None for error_class, _ in ROWS.values())
    # good.csv has one; of the file that is cut off, what was legible.
    assert len(story.fed.booked) >= orders + 1
    assert set(story.fed.booked) == {10_000_000}
    assert story.fed.visitors == ["c1", "c7"]


def test_nothing_is_told_twice_and_nothing_else_is_told(story: Story) -> None:
    bad = [error_class for error_class, _ in (*ROWS.values(), *LINES.values()) if error_class is not None]
    assert sorted(letter["error_class"] for letter in story.fed.open_letters) == sorted(
        [*bad, *FILES.values()]
    )


def test_a_rerun_after_the_fix_repairs(story: Story) -> None:
    assert story.mended.code == ExitCode.OK, story.mended.stderr
    # One order each of good.csv, empty.csv, cut.parquet, column_missing.csv and vanishing.csv; 101 of cut.csv.gz.
    assert len(story.mended.booked) == len(ROWS) + 5 + 101
    assert story.mended.visitors == sorted(f"c{line}" for line in LINES)


def test_a_full_disk_is_told(story: Story) -> None:
    assert story.full_disk.code == ExitCode.FAILED
    assert "no room left" in story.full_disk.stderr
    assert "make room and run it again" in story.full_disk.stderr


def test_a_second_run_at_the_same_time_is_told_who_works_there(story: Story) -> None:
    assert story.second.code == ExitCode.BUSY
    assert "milepost run, process" in story.second.stderr
    assert str(story.place.home) in story.second.stderr


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEKT what AS kind FROM raw", "syntax error"),
        ("SELECT now() AS occurred_at FROM raw", "differs from run to run"),
    ],
    ids=["syntax error", "reads the clock"],
)
def test_a_wrong_mapping_stops_the_run_before_anything_is_read(sql: str, words: str, tmp_path: Path) -> None:
    place = Place(tmp_path / "project", tmp_path / "home")
    write_shop(place.project)
    mapping = place.project / "mappings/shop_orders.sql"
    mapping.write_text(sql)
    stopped = milepost(place, "run")
    assert stopped.returncode == ExitCode.USAGE
    assert "mappings/shop_orders.sql" in stopped.stderr
    assert "source orders: " in stopped.stderr
    assert words in stopped.stderr
    assert not (place.home / "bus").exists()


def _newer_warehouse(home: Path) -> Path:
    with open_warehouse(home / WORKING_COPY) as warehouse:
        warehouse.execute("UPDATE journey.warehouse_version SET version = 99")
    return home / WORKING_COPY


def _newer_store(home: Path) -> Path:
    store = EmbeddedStore(home / "store.duckdb")
    store.set_state("version", "99")
    store.close()
    return store.path


@pytest.mark.parametrize("make_newer", [_newer_warehouse, _newer_store])
def test_a_file_of_a_newer_version_is_left_alone(make_newer: Any, story: Story, tmp_path: Path) -> None:
    place = story.place.copy(tmp_path)
    file = make_newer(place.home)
    (place.project / "data/orders/news.csv").write_bytes(
        (place.project / "data/orders/good.csv").read_bytes() + b" "
    )
    before = {path: path.read_bytes() for path in (file, place.home / "bus/registry.jsonl")}
    stopped = milepost(place, "run")
    assert stopped.returncode == ExitCode.FAILED
    assert f"{file} is of version 99" in stopped.stderr
    assert "Install the newer Milepost" in stopped.stderr
    assert {path: path.read_bytes() for path in before} == before
