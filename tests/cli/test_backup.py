"""A backup while the stream runs: what is being written stays out of it, and it says what that is."""

from __future__ import annotations

import fcntl
import json
import sys
import threading
from pathlib import Path

from typer.testing import CliRunner

from connectors.kafka.producer import Producer
from connectors.kafka.topics import ensure_topics, raw_topic
from milepost.cli import app
from milepost.parts.machine import part_of
from tests.brokers import running_broker, settings_for


def milepost(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def made_home(folder: Path) -> Path:
    home = folder / "home"
    (home / "spool").mkdir(parents=True)
    (home / "hashing.key").write_text("ab" * 32 + "\n")
    (home / "write_keys.json").write_text("[]")
    (home / "spool" / "1.events").write_text("an event")
    return home


def test_a_backup_beside_a_running_kafka_can_be_restored(tmp_path: Path) -> None:
    home, archive, other = made_home(tmp_path), tmp_path / "b.tar.zst", tmp_path / "other"
    collector = part_of(home, "collector")
    stop = threading.Event()
    with running_broker(home / "kafka") as broker:
        settings = settings_for(broker)
        ensure_topics(settings, ["web"], 1)
        collector.start([sys.executable, "-c", "while True: print('busy', flush=True)"], {})

        def send() -> None:
            with Producer(settings) as producer:
                while not stop.is_set():
                    producer.send_many(raw_topic(settings, "web"), None, [b"x" * 1_000] * 100)
                    producer.flush()

        sending = threading.Thread(target=send)
        sending.start()
        try:
            made = json.loads(milepost("backup", str(archive), "--home", str(home), "--json"))
        finally:
            stop.set()
            sending.join()
            collector.kill()
    assert {file["path"] for file in made["files"]} == {"hashing.key", "write_keys.json"}
    assert set(made["left_out"]) == {"kafka", "spool"}
    said = milepost("restore", str(archive), "--home", str(other))
    assert "Not in it: kafka" in said
    assert "milepost down" in said
    assert not (other / "kafka").exists()

    # With everything down, all of it is there.
    whole = json.loads(milepost("backup", str(tmp_path / "whole.tar.zst"), "--home", str(home), "--json"))
    assert whole["left_out"] == {}
    paths = {file["path"] for file in whole["files"]}
    assert {"kafka/server.properties", "spool/1.events"} <= paths
    assert not any(path.startswith("run/") for path in paths)


def test_a_collector_that_a_supervisor_runs_is_seen_by_its_lock(tmp_path: Path) -> None:
    home = made_home(tmp_path)
    with (home / "spool" / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = milepost("backup", str(tmp_path / "b.tar.zst"), "--home", str(home))
    assert "Not in it: spool" in said


def test_a_database_is_named_and_how_to_back_it_up(tmp_path: Path) -> None:
    home = made_home(tmp_path)
    store = "postgresql://milepost:secret@db.example/milepost"
    said = milepost("backup", str(tmp_path / "b.tar.zst"), "--home", str(home), "--store", store)
    assert "pg_dump --format=custom" in said
    assert "db.example/milepost" in said
    assert "secret" not in said
