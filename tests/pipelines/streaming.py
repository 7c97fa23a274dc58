"""Helpers for tests of the stream: a simulated market whose records come over Kafka instead of from files."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from connectors.kafka.columns import Headers
from connectors.kafka.producer import Producer
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import RECEIVED_AT, raw_topic
from milepost.project import Project, load_project

Message = tuple[str, bytes]

#: What is not text: its values have types, which JSON texts would lose. These sources stay files.
_STAY_FILES = (".parquet",)


def streamed_market(market: Path, folder: Path, home: Path, kafka: KafkaSettings | None) -> Project:
    """Make a project like the market's whose sources of text files are streams.

    `kafka` is written into its settings; without, the project's machine has a Kafka of its own.
    """
    shutil.copytree(market / "mappings", folder / "mappings")
    document = yaml.safe_load((market / "milepost.yaml").read_text(encoding="utf-8"))
    for source in document["sources"].values():
        if Path(source["files"]).suffix in _STAY_FILES:
            source["files"] = str(market / source["files"])
        else:
            del source["files"]
            source["stream"] = "json"
    document["stream"] = {"pace_seconds": 0.2, "ingest_pace_seconds": 0.1}
    if kafka is not None:
        document["kafka"] = {
            "bootstrap_servers": list(kafka.bootstrap_servers),
            "topic_prefix": kafka.topic_prefix,
        }
    (folder / "milepost.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_project(folder, home)


def market_messages(market: Path, repeat: float, seed: int) -> list[Message]:
    """Give every record of the market's text files as a message: source and JSON; some twice, in random order."""
    document = yaml.safe_load((market / "milepost.yaml").read_text(encoding="utf-8"))
    messages = [
        (name, json.dumps(record).encode())
        for name, source in document["sources"].items()
        if Path(source["files"]).suffix not in _STAY_FILES
        for path in sorted(market.glob(source["files"]))
        for record in _records(path)
    ]
    chance = random.Random(seed)
    messages += chance.sample(messages, int(len(messages) * repeat))
    chance.shuffle(messages)
    return messages


def _records(path: Path) -> Iterator[dict[str, object]]:
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    with io.StringIO(content.decode(), newline="") as stream:
        if plain.suffix == ".jsonl":
            yield from (json.loads(line) for line in stream if line.strip())
        else:
            yield from (
                {key: value for key, value in row.items() if value != ""} for row in csv.DictReader(stream)
            )


def send(settings: KafkaSettings, messages: list[Message], received_at: int) -> None:
    """Put raw records on their topics, all acknowledged."""
    by_source: dict[str, list[bytes]] = {}
    for source, record in messages:
        by_source.setdefault(source, []).append(record)
    headers: Headers = [(RECEIVED_AT, str(received_at).encode())]
    with Producer(settings) as producer:
        for source, records in by_source.items():
            producer.send_many(raw_topic(settings, source), None, records, [headers] * len(records))
        producer.flush()
