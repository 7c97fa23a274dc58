"""The folding job alone, on given customer ids: Milepost's fold beside Quix Streams and Bytewax.

`python -m benchmarks.fold_peers --events 200000`. All three read the same JSON messages from one Kafka topic, in order
of time, keyed by customer, and fold stages, first and last touch; their states are compared. The peers can't stitch
identities in retrospect: they are given customer ids, take a late event for a new one, and count twice what comes
twice. What Milepost's whole stitch costs, which does all of that, `benchmarks.stream` says.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.events import DEFAULT_SEED, default_cache
from benchmarks.fold_rule import GROWS, NO_CONVERSION, RETAINS
from benchmarks.journeys import draw_journeys
from benchmarks.stand import machine, print_json
from connectors.kafka.producer import Producer
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics, raw_topic
from milepost.parts.kafka_broker import KafkaBroker
from schemas.vocabulary import load_vocabulary

#: What the peers' environment holds; a peer that a machine has no build of is left out, and said to be.
PACKAGES = {"Quix Streams": "quixstreams==3.28.1", "Bytewax": "bytewax==0.21.1"}
_TOGETHER = ("confluent-kafka==2.12.2",)
_MODULES = {
    "Milepost's fold": "benchmarks.milepost_fold",
    "Quix Streams": "benchmarks.quixstreams_peer",
    "Bytewax": "benchmarks.bytewax_peer",
}
_TOPIC = "folds"
_AT_ONCE = 20_000


def fold_events(count: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield keys and messages in order of time, some at a time: `customer`, `at`, `stage`, `conversion`."""
    vocabulary = load_vocabulary()
    kinds = list(vocabulary.kinds.values())
    journeys = draw_journeys(count, DEFAULT_SEED)
    stage = np.array([-1 if kind.stage is None else vocabulary.stage_rank[kind.stage] for kind in kinds])
    books = np.array([kind.amount == "booked" for kind in kinds])[journeys.kind] & (
        journeys.amount_micros >= 0
    )
    conversion = np.where(books, np.where(journeys.product_bits & 1, GROWS, RETAINS), NO_CONVERSION)
    order = np.argsort(journeys.occurred_at, kind="stable")
    columns = (journeys.customer, journeys.occurred_at, stage[journeys.kind], conversion)
    rows = zip(*(column[order].tolist() for column in columns), strict=True)
    batch = []
    for customer, at, rank, converts in rows:
        name = f"customer-{customer:08d}"
        said = {"customer": name, "at": at, "stage": rank, "conversion": converts}
        batch.append((name.encode(), json.dumps(said, separators=(",", ":")).encode()))
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def peers_python() -> tuple[Path, dict[str, str]]:
    """Make the peers' environment where there is none; give its Python, and why a peer is not in it."""
    folder = default_cache() / "fold-peers"
    missing_file, python = folder / "missing.json", folder / "bin" / "python"
    if not missing_file.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run([uv, "venv", "-q", "--python", version, str(folder)], check=True)
        missing = {}
        for name, package in PACKAGES.items():
            done = subprocess.run(
                [uv, "pip", "install", "-q", "--python", str(python), package, *_TOGETHER],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                missing[name] = done.stderr.strip()[-500:]
        missing_file.write_text(json.dumps(missing), encoding="utf-8")
    return python, json.loads(missing_file.read_text(encoding="utf-8"))


@contextmanager
def _topic(folder: Path, count: int) -> Iterator[tuple[KafkaSettings, str]]:
    broker = KafkaBroker(folder / "kafka")
    broker.start()
    try:
        broker.wait_ready()
        kafka = KafkaSettings(bootstrap_servers=(broker.bootstrap,))
        ensure_topics(kafka, [_TOPIC], 1)
        topic = raw_topic(kafka, _TOPIC)
        with Producer(kafka, compression="lz4") as producer:
            for batch in fold_events(count):
                producer.send_many(topic, [key for key, _ in batch], [value for _, value in batch])
            producer.flush()
        yield kafka, topic
    finally:
        broker.stop()


def compare_folds(count: int) -> dict[str, Any]:
    """Run all three on so many events.

    Raises:
        RuntimeError: one of them fails, or their states differ.
    """
    python, missing = peers_python()
    rows: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="milepost-bench-folds-") as folder,
        _topic(Path(folder), count) as (kafka, topic),
    ):
        for name, module in _MODULES.items():
            if name in missing:
                rows[name] = {"missing": missing[name]}
                continue
            interpreter = sys.executable if name not in PACKAGES else str(python)
            arguments = (kafka.bootstrap_servers[0], topic, str(count), str(Path(folder) / name))
            rows[name] = _run(interpreter, module, arguments, count)
    sums = {tuple(row["checksum"]) for row in rows.values() if "checksum" in row}
    if len(sums) != 1:
        raise RuntimeError(f"the states differ: {rows}")
    return {"machine": machine(), "events": count, "contestants": rows}


def _run(python: str, module: str, arguments: tuple[str, ...], count: int) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-W", "ignore", "-m", module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": ""},
    )
    if done.returncode:
        raise RuntimeError(f"{module}: {done.stderr[-3000:]}")
    row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    row["cpu_microseconds_per_event"] = round(row["cpu_seconds"] / count * 1e6, 2)
    row["events_per_second"] = round(count / row["wall_seconds"])
    return row


def main() -> None:
    """Run the comparison and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    print_json(compare_folds(parser.parse_args().events))


if __name__ == "__main__":
    main()
