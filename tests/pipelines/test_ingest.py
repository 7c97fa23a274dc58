"""Ingest from files to bus, by the real entry point: good files, bad files, reruns, crashes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.bus import Bus, read_bus_file
from connectors.errors import MappingError
from milepost.project import Project, load_project
from pipelines.ingest import preview_mapping, run_ingest
from pipelines.ingest_report import IngestReport
from pipelines.ingest_steps import ReadFile

MOMENT = datetime(2024, 6, 1, tzinfo=UTC)
ORDERS = (
    "SELECT 'order' AS kind, day::TIMESTAMP AS occurred_at, mail AS email, "
    "amount::DECIMAL(18,2) AS amount, 'EUR' AS currency FROM raw"
)
WEB = "SELECT kind, ts::TIMESTAMP AS occurred_at, cookie, url AS content FROM raw"


def make(folder: Path, **settings: str) -> Project:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "orders.sql").write_text(ORDERS)
    (folder / "web.sql").write_text(WEB)
    more = "".join(f", {key}: {value}" for key, value in settings.items())
    (folder / "milepost.yaml").write_text(
        f"sources:\n  orders: {{files: data/*.csv*, mapping: orders.sql{more}}}\n"
        "  web: {files: data/*.jsonl*, mapping: web.sql}\n"
    )
    return load_project(folder, folder / "home")


def put(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / "data" / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def standing(project: Project, fact: str = "touchpoint") -> pl.DataFrame:
    files = Bus(project.home).current_files(fact)
    frames = [read_bus_file(file) for file in files]
    return pl.concat(frames) if frames else pl.DataFrame()


def run(project: Project) -> IngestReport:
    return run_ingest(project, received_at=MOMENT)


def test_good_records_land_and_bad_ones_are_told_by_source_file_and_row(tmp_path: Path) -> None:
    project = make(tmp_path)
    put(
        tmp_path,
        "a.csv",
        "day,mail,amount\n2024-01-01,a@b.c,1.50\nx,a@b.c,2\n2024-01-02,a@b.c,-3\n2024-01-02,,3\n1,2\n",
    )
    put(tmp_path, "b.csv", "day,mail\n2024-01-01,a@b.c\n")
    put(tmp_path, "c.csv", "")
    put(tmp_path, "d.csv.gz", gzip.compress(b"day,mail,amount\n" + b"2024-01-01,z@b.c,1\n" * 2)[:-4])
    put(
        tmp_path,
        "w.jsonl",
        '{"kind":"site_visit","ts":"2024-01-01T10:00:00","cookie":"c1"}\n{"kind":null}\n{"ts":"2024-01-01"}\n'
        '{"kind":"nope","ts":"2024-01-01T10:00:00","cookie":"c1"}\n[]\n',
    )
    progress: list[int] = []
    report = run_ingest(project, progress=progress.append, received_at=MOMENT)
    orders, web = report.sources["orders"], report.sources["web"]
    assert (orders.received, orders.mapped, orders.filtered, orders.rejected) == (8, 5, 0, 3)
    assert (orders.yielded, orders.rejected_facts, orders.written) == (
        {"touchpoint": 5},
        {"touchpoint": 2},
        {"touchpoint": 3},
    )
    assert (web.received, web.mapped, web.filtered, web.rejected) == (5, 2, 2, 1)
    assert sum(progress) == 13
    assert not report.ok
    assert sorted(orders.failed) == ["data/b.csv", "data/c.csv", "data/d.csv.gz"]
    letters = standing(project, "dead_letter")
    assert sorted(letters.select("error_class", "payload_ref").rows()) == [
        ("bad_json", "data/w.jsonl:5"),
        ("bad_value", "data/a.csv:2"),
        ("empty_file", "data/c.csv"),
        ("mapping", "data/b.csv"),
        ("negative_amount", "data/a.csv:3"),
        ("no_subject", "data/a.csv:4"),
        ("too_few_columns", "data/a.csv:5"),
        ("truncated_file", "data/d.csv.gz"),
        ("unknown_kind", "data/w.jsonl:4"),
    ]
    assert all(reason.startswith("data/") for reason in letters["reason"])
    facts = standing(project)
    assert facts.height == 4
    assert facts["received_at"].unique().to_list() == [MOMENT]
    assert "a@b.c" not in str(facts.to_dicts())


def test_a_known_content_is_not_read_again_and_keeps_its_time(tmp_path: Path) -> None:
    project = make(tmp_path)
    file = put(tmp_path, "a.csv", "day,mail,amount\n2024-01-01,a@b.c,1\n")
    assert run(project).sources["orders"].files_read == 1
    before = standing(project)
    file.rename(file.with_name("renamed.csv"))
    put(tmp_path, "copy.csv", file.with_name("renamed.csv").read_bytes())
    again = run_ingest(project, received_at=datetime(2025, 1, 1, tzinfo=UTC)).sources["orders"]
    assert (again.files_read, again.files_known) == (0, 2)
    assert standing(project).equals(before)
    (tmp_path / "orders.sql").write_text(ORDERS.replace("'order'", "'payment'"))
    changed = run_ingest(project, received_at=datetime(2025, 1, 1, tzinfo=UTC)).sources["orders"]
    assert changed.files_read == 1
    after = standing(project)
    assert after.select("kind", "received_at").rows() == [("payment", MOMENT)]
    assert len(Bus(project.home).superseded_files("touchpoint")) == 1
    (tmp_path / "orders.sql").write_text(ORDERS)
    run(project)
    assert standing(project).equals(before), "going back to a mapping brings its facts back"


def test_identical_rows_are_one_fact_unless_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "day,mail,amount\n" + "2024-01-01,a@b.c,1\n" * 3 + "2024-01-02,a@b.c,1\n"
    put_into = make(tmp_path)
    put(tmp_path, "a.csv", content)
    run(put_into)
    assert standing(put_into)["event_id"].n_unique() == 2
    kept = make(tmp_path, identical_rows="keep")
    run(kept)
    ids = standing(kept)["event_id"]
    assert ids.n_unique() == 4
    monkeypatch.setattr("connectors.files.csv_records.BATCH_RECORDS", 1)
    fresh = load_project(tmp_path, tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "hashing.key").write_bytes((tmp_path / "home" / "hashing.key").read_bytes())
    (tmp_path / "other" / "hashing.key").chmod(0o600)
    run(fresh)
    assert sorted(standing(fresh)["event_id"]) == sorted(ids), "the size of batches does not matter"


def test_a_file_mapping_sees_the_whole_file_or_nothing(tmp_path: Path) -> None:
    project = make(tmp_path, unit="file")
    (tmp_path / "orders.sql").write_text(
        "SELECT 'order' AS kind, max(day)::TIMESTAMP AS occurred_at, mail AS email, "
        "sum(amount::DECIMAL(18,2)) AS amount, 'EUR' AS currency, mail AS native_id FROM raw GROUP BY mail"
    )
    put(tmp_path, "a.csv", "day,mail,amount\n2024-01-01,a@b.c,1\n2024-01-02,a@b.c,2\n2024-01-02,b@b.c,x\n")
    put(tmp_path, "cut.csv.gz", gzip.compress(b"day,mail,amount\n" + b"2024-01-01,z@b.c,1\n" * 2)[:-4])
    orders = run(project).sources["orders"]
    assert (orders.received, orders.mapped, orders.rejected) == (5, 2, 3)
    assert standing(project).select("amount_micros").rows() == [(3_000_000,)]
    assert list(orders.failed) == ["data/cut.csv.gz"]


def test_a_missing_file_and_an_empty_folder_are_told(tmp_path: Path) -> None:
    project = make(tmp_path)
    (tmp_path / "milepost.yaml").write_text("sources: {orders: {files: data/gone.csv, mapping: orders.sql}}")
    report = run(load_project(tmp_path, project.home))
    assert report.failures == [
        "orders: data/gone.csv: file_missing: " + report.failures[0].rpartition(": ")[2]
    ]
    assert standing(project, "dead_letter")["error_class"].to_list() == ["file_missing"]
    assert run(project).sources["web"].warnings == ["no file matches data/*.jsonl*"]
    put(tmp_path, "gone.csv", "day,mail,amount\n2024-01-01,a@b.c,1\n")
    assert run(project).ok
    assert standing(project, "dead_letter").is_empty(), "it is back"


def test_a_file_that_changes_or_disappears_while_it_is_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make(tmp_path)
    changing = put(tmp_path, "a.csv", "day,mail,amount\n2024-01-01,a@b.c,1\n")
    going = put(tmp_path, "b.csv", "day,mail,amount\n2024-01-02,a@b.c,1\n")
    process = ReadFile.process

    def meddle(self: ReadFile, file: object) -> object:
        changing.write_text("day,mail,amount\n2024-01-01,a@b.c,1\n2024-01-03,a@b.c,1\n")
        going.unlink(missing_ok=True)
        return process(self, file)  # type: ignore[arg-type]

    monkeypatch.setattr(ReadFile, "process", meddle)
    failed = run(project).sources["orders"].failed
    assert {path: reason.partition(":")[0] for path, reason in failed.items()} == {
        "data/a.csv": "file_changed",
        "data/b.csv": "file_missing",
    }
    monkeypatch.undo()
    assert run(project).ok, "a rerun repairs"


def test_a_wrong_mapping_stops_the_run_before_anything_is_read(tmp_path: Path) -> None:
    project = make(tmp_path)
    (tmp_path / "web.sql").write_text("SELECT now() AS occurred_at FROM raw")
    put(tmp_path, "a.csv", "day,mail,amount\n2024-01-01,a@b.c,1\n")
    with pytest.raises(MappingError, match=r"web\.sql"):
        run(project)
    assert standing(project).is_empty()


def test_a_preview_writes_nothing(tmp_path: Path) -> None:
    project = make(tmp_path)
    put(tmp_path, "a.csv", "day,mail,amount\n2024-01-01,a@b.c,1.50\nx,a@b.c,2\n2024-01-02,a@b.c,-3\n")
    preview = preview_mapping(project, "orders")
    assert preview.facts.height == 1
    assert [(reject.row, reject.error_class) for reject in preview.rejects] == [
        (2, "bad_value"),
        (3, "negative_amount"),
    ]
    assert sorted(path.name for path in project.home.iterdir()) == ["hashing.key"]


CELL = st.text(alphabet=st.sampled_from('a1-.@",\0é\n'), max_size=4)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(
        st.lists(CELL, min_size=1, max_size=4).map(",".join) | st.just("2024-01-01,a@b.c,1"), max_size=8
    ),
    lines=st.lists(
        st.text(alphabet='{}[]":,1a', max_size=8)
        | st.fixed_dictionaries({"kind": CELL, "ts": CELL, "cookie": st.none() | st.integers() | CELL}).map(
            json.dumps
        ),
        max_size=8,
    ),
)
def test_every_record_has_a_fate_whatever_the_files_hold(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("fates")
    project = make(folder)
    put(folder, "a.csv", "day,mail,amount\n" + "\n".join(rows))
    put(folder, "w.jsonl", "\n".join(lines) + "\n")
    report = run(project)  # holds the sums against each other itself
    letters = standing(project, "dead_letter")
    for name, source in report.sources.items():
        rejects = source.rejected + sum(source.rejected_facts.values())
        assert rejects == (0 if letters.is_empty() else letters.filter(pl.col("source") == name).height)
        assert source.received >= 0
        assert not source.failed
    assert standing(project).height == sum(
        source.written.get("touchpoint", 0) for source in report.sources.values()
    )


RUN = """
import sys; from pathlib import Path; from datetime import datetime, timezone
from milepost.project import load_project; from pipelines.ingest import run_ingest
report = run_ingest(load_project(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@pytest.mark.faults
@pytest.mark.parametrize("share", [0.3, 0.6, 0.75, 0.85, 0.95])
def test_a_killed_run_is_repaired_by_the_next(tmp_path: Path, share: float) -> None:
    project = make(tmp_path)
    for number in range(12):
        rows = "".join(f"2024-01-01,{number}-{row}@b.c,{row}\n" for row in range(400))
        put(tmp_path, f"{number}.csv", "day,mail,amount\n" + rows + "x,y,z\n")
    command = [sys.executable, "-c", RUN, str(tmp_path), str(tmp_path / "undisturbed")]
    began = time.monotonic()
    subprocess.run(command, check=True)
    took = time.monotonic() - began
    (project.home).mkdir(mode=0o700)
    key = (tmp_path / "undisturbed" / "hashing.key").read_text()
    (project.home / "hashing.key").write_text(key)
    (project.home / "hashing.key").chmod(0o600)
    process = subprocess.Popen([*command[:-1], str(project.home)])
    time.sleep(took * share)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run_ingest(project)
    undisturbed = load_project(tmp_path, tmp_path / "undisturbed")
    for fact, column in (("touchpoint", "event_id"), ("dead_letter", "dead_letter_id")):
        assert Counter(standing(project, fact)[column]) == Counter(standing(undisturbed, fact)[column])
