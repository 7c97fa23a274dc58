"""From the request to the sink or the spool, with the sink away, back, and away for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from connectors.collector.delivery import Delivery
from connectors.collector.metrics import Metrics
from connectors.collector.records import Overloaded, RawRecord
from connectors.collector.settings import CollectorSettings
from connectors.errors import ConnectorError
from tests.connectors.collector.conftest import Collector
from tests.connectors.collector.kept import Kept


class Hanging(Kept):
    """Takes its time to say that it is away."""

    async def put(self, source: str, records: Sequence[RawRecord]) -> None:
        if self.away:
            await asyncio.sleep(0.2)
        await super().put(source, records)


def _record(number: int) -> RawRecord:
    return RawRecord(b"k", b"%d" % number, number)


def _numbers(sink: Kept, source: str = "web") -> list[int]:
    return [int(record.value) for record in sink.records.get(source, [])]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def _delivery(folder: Path, sink: Kept, **settings: Any) -> Delivery:
    return Delivery(CollectorSettings(**settings), sink, folder, ("web", "app"), Metrics())


@pytest.mark.parametrize("kind", [Kept, Hanging])
def test_away_and_back(tmp_path: Path, kind: type[Kept]) -> None:
    async def work() -> None:
        sink = kind()
        delivery = _delivery(tmp_path, sink)
        await delivery.start()
        await delivery.put("web", [_record(0)])
        sink.away = True
        for number in range(1, 20):
            await delivery.put("web", [_record(number)])
        assert delivery.waiting() == {"web": True, "app": False}
        sink.away = False
        # New ones queue up behind those that wait.
        for number in range(20, 60):
            await delivery.put("web", [_record(number)])
        await _until(lambda: not delivery.waiting()["web"])
        await delivery.put("web", [_record(60)])
        assert _numbers(sink) == list(range(61))
        assert delivery.room.used == 0
        await delivery.close()

    asyncio.run(work())


def test_a_restart_with_the_sink_away(tmp_path: Path) -> None:
    async def before() -> None:
        sink = Kept()
        sink.away = True
        delivery = _delivery(tmp_path, sink)
        await delivery.start()
        await asyncio.gather(*(delivery.put("web", [_record(number)]) for number in range(10)))
        await delivery.close()

    async def after() -> None:
        sink = Kept()
        delivery = _delivery(tmp_path, sink)
        await delivery.start()
        await delivery.put("web", [_record(10)])
        await _until(lambda: not delivery.waiting()["web"])
        assert _numbers(sink) == list(range(11))
        await delivery.close()

    asyncio.run(before())
    asyncio.run(after())


def test_one_source_does_not_hold_up_another(tmp_path: Path) -> None:
    class Half(Kept):
        async def put(self, source: str, records: Sequence[RawRecord]) -> None:
            self.away = source == "web"
            await super().put(source, records)

    async def work() -> None:
        sink = Half()
        delivery = _delivery(tmp_path, sink, spool_bytes=1000)
        await delivery.start()
        puts = [delivery.put("web", [_record(number)]) for number in range(100)]
        assert Overloaded in map(type, await asyncio.gather(*puts, return_exceptions=True))
        await delivery.put("app", [_record(0)])
        assert delivery.waiting() == {"web": True, "app": False}
        await delivery.close()

    asyncio.run(work())


def test_two_collectors_on_one_spool(tmp_path: Path) -> None:
    async def work() -> None:
        first, second = _delivery(tmp_path, Kept()), _delivery(tmp_path, Kept())
        await first.start()
        with pytest.raises(ConnectorError, match="another collector"):
            await second.start()
        await first.close()
        await second.start()
        await second.close()

    asyncio.run(work())


def test_answers_while_kafka_is_away(start: Callable[..., Collector]) -> None:
    collector = start(spool_bytes=2_000)
    collector.kept.away = True
    statuses = [collector.post("page", {"userId": "u", "messageId": str(number)}) for number in range(20)]
    taken = [answer.status_code for answer in statuses].index(503)
    assert 5 < taken < 20
    full = statuses[-1]
    assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (503, "spool_full", "30")
    ready = collector.client.get("/health/ready")
    assert ready.json()["waiting"] == ["web"]
    assert collector.metric("milepost_collector_spooled_records_total", source="web") == taken
    assert 0 < collector.metric("milepost_collector_spool_bytes") <= 2_000
    # A new process, with Kafka back.
    collector = start()
    for _ in range(200):
        if not collector.client.get("/health/ready").json()["waiting"]:
            break
    assert [event["messageId"] for event in collector.kept.events("web")] == [
        str(number) for number in range(taken)
    ]
