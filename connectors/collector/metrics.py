"""What the collector counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one collector."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter(
            "milepost_collector_events",
            "Events by source and fate: accepted, rejected, unrecorded (a link that was followed all the same)",
            ("source", "fate"),
            registry=self.registry,
        )
        self._rejected = Counter(
            "milepost_collector_rejected_events",
            "Rejected events by source and reason",
            ("source", "code"),
            registry=self.registry,
        )
        self._requests = Counter(
            "milepost_collector_requests",
            "Requests to the end points that take events, by protocol and status",
            ("protocol", "status"),
            registry=self.registry,
        )
        self._refused = Counter(
            "milepost_collector_refused_requests",
            "Requests that were refused as a whole, by protocol and reason",
            ("protocol", "code"),
            registry=self.registry,
        )
        self._delivered = Counter(
            "milepost_collector_delivered_records",
            "Records that Kafka acknowledged, also those that came through the spool",
            ("source",),
            registry=self.registry,
        )
        self._spooled = Counter(
            "milepost_collector_spooled_records",
            "Records that were written to the spool",
            ("source",),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "milepost_collector_request_seconds",
            "Time from a request's start to its answer, by protocol",
            ("protocol",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    def watch(
        self,
        spool_bytes: Callable[[], float],
        spool_most: float,
        in_flight: Callable[[], float],
        waiting: Callable[[], float],
    ) -> None:
        """Show what can be asked for at any time."""
        for name, text, value in (
            ("spool_bytes", "Bytes of the spool in use", spool_bytes),
            ("in_flight_bytes", "Bytes of requests in work", in_flight),
            ("waiting_sources", "Sources whose records wait in the spool for Kafka", waiting),
        ):
            Gauge(f"milepost_collector_{name}", text, registry=self.registry).set_function(value)
        Gauge(
            "milepost_collector_spool_limit_bytes", "Bytes that the spool may take", registry=self.registry
        ).set(spool_most)

    def answered(self, protocol: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._one(self._requests, protocol, str(status)).inc()
        timer = self._timers.get(protocol)
        if timer is None:
            timer = self._timers[protocol] = self._seconds.labels(protocol)
        timer.observe(seconds)

    def refused(self, protocol: str, code: str) -> None:
        """Count a request that was refused as a whole."""
        self._one(self._refused, protocol, code).inc()

    def events(self, source: str, fate: str, count: int) -> None:
        """Count events by fate."""
        self._one(self._events, source, fate).inc(count)

    def rejected(self, source: str, code: str) -> None:
        """Count a rejected event."""
        self._one(self._events, source, "rejected").inc()
        self._one(self._rejected, source, code).inc()

    def delivered(self, source: str, count: int) -> None:
        """Count records that the sink has acknowledged."""
        self._one(self._delivered, source).inc(count)

    def spooled(self, source: str, count: int) -> None:
        """Count records that the spool has taken."""
        self._one(self._spooled, source).inc(count)

    def text(self) -> bytes:
        """Give all of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def _one(self, counter: Counter, *labels: str) -> Counter:
        # Looking a child up by its labels costs more than counting.
        key = (counter._name, *labels)
        child = self._counters.get(key)
        if child is None:
            child = self._counters[key] = counter.labels(*labels)
        return child
