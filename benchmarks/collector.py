"""The collector beside a bare ASGI handler that only acknowledges to Kafka: requests per second, CPU per event.

`python -m benchmarks.collector`. Both run as one process on the same broker and sink, and take the same load
from the same generator. The bare handler knows no key, limit, protocol, JSON or spool: a request's body is a record.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from connectors.collector.kafka_sink import KafkaSink
from connectors.collector.protocol import uvicorn_options
from connectors.collector.records import RawRecord
from connectors.collector.serve import serve
from connectors.collector.settings import CollectorSettings
from connectors.collector.times import micros
from connectors.collector.write_keys import create_write_key
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics, raw_topic
from milepost.clock import now
from milepost.parts.kafka_broker import KafkaBroker

SOURCE = "web"
BATCH = 100
CONNECTIONS = 64
SECONDS = 6.0
ROUNDS = 2


@dataclass(frozen=True)
class Result:
    """What one server did under one load; CPU is the server's own, without broker and generator."""

    server: str
    load: str
    requests_per_second: int
    events_per_second: int
    cpu_microseconds_per_event: float
    p50_milliseconds: float
    p99_milliseconds: float


def event(number: int) -> dict[str, Any]:
    """Make an event as analytics.js would send it, of some 700 bytes."""
    return {
        "type": "track",
        "event": "Product Added",
        "messageId": f"ajs-next-1772366390000-{number:032x}",
        "anonymousId": f"5f0c2f0a-{number % 10_000:04x}-4c1e-9a64-30f6a7d4a5b1",
        "userId": None,
        "timestamp": "2026-03-01T11:59:50.123Z",
        "properties": {
            "product_id": f"p-{number % 997}",
            "sku": "G-32",
            "category": "Games",
            "name": "Monopoly: 3rd Edition",
            "price": 18.99,
            "quantity": 1,
            "currency": "EUR",
        },
        "context": {
            "page": {
                "path": "/shop/games",
                "referrer": "https://search.example/",
                "title": "Games",
                "url": "https://shop.example/shop/games?utm_source=search",
            },
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
            "locale": "en-GB",
            "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
            "campaign": {"source": "search", "medium": "cpc"},
        },
        "integrations": {},
    }


def _requests(key: str, batch: bool) -> list[bytes]:
    sent = {"sentAt": "2026-03-01T11:59:50.223Z"}
    requests = []
    for number in range(500):
        if batch:
            path = "/v1/batch"
            body = {"batch": [event(number * BATCH + place) for place in range(BATCH)], **sent}
        else:
            path, body = "/v1/track", {**event(number), **sent}
        text = json.dumps(body, separators=(",", ":")).encode()
        token = base64.b64encode(f"{key}:".encode()).decode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: collector.example\r\ncontent-type: application/json\r\n"
            f"authorization: Basic {token}\r\ncontent-length: {len(text)}\r\n\r\n"
        )
        requests.append(head.encode() + text)
    return requests


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, requests: list[bytes], first: int, times: list[float]) -> None:
        self._requests, self._next, self._times = requests, first, times
        self._answer = b""
        self.stop = False
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"an answer other than 200: {self._answer[:300]!r}")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._times.append(time.perf_counter() - self._since)
        self._answer = b""
        if self.stop:
            self._transport.close()
            self.ended.set_result(None)
        else:
            self._ask()

    def _ask(self) -> None:
        self._since = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1


async def _load(port: int, requests: list[bytes], connections: int, seconds: float) -> list[float]:
    """Ask for some seconds; gives the seconds that each answer took."""
    times: list[float] = []
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda at=at: _Client(requests, at * 7, times), "127.0.0.1", port))[1]
        for at in range(connections)
    ]
    await asyncio.sleep(seconds)
    for client in clients:
        client.stop = True
    await asyncio.gather(*(client.ended for client in clients))
    return times


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(server: str, pid: int, port: int, key: str, batch: bool) -> tuple[Result, int]:
    requests = _requests(key, batch)
    connections = CONNECTIONS // 4 if batch else CONNECTIONS
    warm = uvloop.run(_load(port, requests, connections, SECONDS / 4))
    before, started = _cpu_seconds(pid), time.perf_counter()
    times = sorted(uvloop.run(_load(port, requests, connections, SECONDS)))
    seconds, cpu = time.perf_counter() - started, _cpu_seconds(pid) - before
    events = len(times) * (BATCH if batch else 1)
    result = Result(
        server,
        f"batches of {BATCH}" if batch else "single events",
        round(len(times) / seconds),
        round(events / seconds),
        round(cpu / events * 1e6, 1),
        round(times[len(times) // 2] * 1e3, 1),
        round(times[len(times) * 99 // 100] * 1e3, 1),
    )
    return result, (len(times) + len(warm)) * (BATCH if batch else 1)


def measure_collector() -> list[Result]:
    """Measure both servers under both loads, in turns; of each the better round by CPU stands.

    Raises:
        RuntimeError: the collector answered other than 200, or Kafka has fewer events than were acknowledged.
    """
    results: dict[tuple[str, str], Result] = {}
    with tempfile.TemporaryDirectory() as folder, _broker(Path(folder)) as kafka:
        home = Path(folder) / "home"
        key, _ = create_write_key(home, SOURCE, now())
        acknowledged = 0
        for _ in range(ROUNDS):
            for server in ("bare", "collector"):
                with _server(server, home, kafka) as (pid, port):
                    for batch in (False, True):
                        result, events = _measure(server, pid, port, key, batch)
                        acknowledged += events if server == "collector" else 0
                        best = results.get((server, result.load))
                        if (
                            best is None
                            or result.cpu_microseconds_per_event < best.cpu_microseconds_per_event
                        ):
                            results[server, result.load] = result
        kept = _count(kafka, raw_topic(kafka, SOURCE))
        if kept < acknowledged:
            raise RuntimeError(f"{acknowledged} events were acknowledged, and Kafka has {kept}")
    return list(results.values())


def _count(kafka: KafkaSettings, topic: str) -> int:
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(**kafka.client_options())
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    ends = consumer.end_offsets(partitions)
    consumer.close()
    return sum(ends.values())


@contextmanager
def _broker(folder: Path) -> Iterator[KafkaSettings]:
    broker = KafkaBroker(folder / "kafka")
    broker.start()
    try:
        broker.wait_ready()
        kafka = KafkaSettings(bootstrap_servers=(broker.bootstrap,))
        ensure_topics(kafka, [SOURCE, "bare"], 1)
        yield kafka
    finally:
        broker.stop()


@contextmanager
def _server(server: str, home: Path, kafka: KafkaSettings) -> Iterator[tuple[int, int]]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.collector",
        server,
        os.fspath(home),
        kafka.bootstrap_servers[0],
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(20)


def _serve_collector(home: Path, kafka: KafkaSettings) -> None:
    settings = CollectorSettings.model_validate(
        {"port": 0, "events_per_second": 1e9, "sources": {SOURCE: {"protocol": "segment"}}}
    )
    serve(settings, kafka, home, lambda _, port: print(port, flush=True))


def _serve_bare(kafka: KafkaSettings) -> None:
    import uvicorn

    sink = KafkaSink(kafka)
    numbers = iter(range(1 << 60))

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await sink.put("bare", [RawRecord(b"%d" % next(numbers), body, micros(now()))])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"16")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"success":true}'})

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(self.servers[0].sockets[0].getsockname()[1], flush=True)

    config = uvicorn.Config(
        app, port=0, access_log=False, log_config=None, lifespan="off", **uvicorn_options(32_768, 10.0)
    )
    Server(config).run()


def main(arguments: list[str]) -> None:
    """Print a table and the results as JSON; with arguments, be one of the servers."""
    if arguments:
        server, home, bootstrap = arguments
        kafka = KafkaSettings(bootstrap_servers=(bootstrap,))
        if server == "bare":
            _serve_bare(kafka)
        else:
            _serve_collector(Path(home), kafka)
        return
    results = measure_collector()
    names = ["server", "load", "requests/s", "events/s", "CPU µs/event", "p50 ms", "p99 ms"]
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for result in results:
        cells = (
            f"{value:,}" if isinstance(value, int | float) else value for value in asdict(result).values()
        )
        print(f"| {' | '.join(cells)} |")
    print(json.dumps([asdict(result) for result in results]))


if __name__ == "__main__":
    main(sys.argv[1:])
