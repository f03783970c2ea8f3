"""Prometheus metrics. Each server has its own registry."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
CALLERS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Requests and durations by route, requests in flight, callers and prompts per batch, verdicts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "reasoner_rm_requests", "Requests answered", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "reasoner_rm_request_seconds", "Seconds to the end of the response", ("route",),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._in_flight = Gauge(
            "reasoner_rm_requests_in_flight", "Accepted and not yet answered", registry=self.registry
        )
        self._held = Gauge(
            "reasoner_rm_held_bytes", "Bytes of the bodies and images of requests in flight", registry=self.registry
        )
        self._callers = Histogram(
            "reasoner_rm_run_callers", "Callers that shared a batch of the model", buckets=CALLERS,
            registry=self.registry,
        )  # fmt: skip
        self._items = Counter("reasoner_rm_run_items", "Prompts that the model ran", registry=self.registry)
        self._verdicts = Counter(
            "reasoner_rm_verdicts", "Verdicts, by whether any vote could be parsed", ("parsed",), registry=self.registry
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def ran(self, callers: int, items: int) -> None:
        self._callers.observe(callers)
        self._items.inc(items)

    def judged(self, parsed: bool) -> None:
        self._verdicts.labels("yes" if parsed else "no").inc()

    def text(self, in_flight: int, held_bytes: int) -> bytes:
        self._in_flight.set(in_flight)
        self._held.set(held_bytes)
        return bytes(generate_latest(self.registry))
