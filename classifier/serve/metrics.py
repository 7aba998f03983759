"""What /metrics tells Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """A registry of its own, so that two apps in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.seconds = Histogram(
            "inkfill_request_seconds",
            "Time from the parsed request to its answer",
            ["endpoint", "status"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "inkfill_requests_in_flight", "Requests being answered", registry=self.registry
        )
        self.batch_images = Histogram(
            "inkfill_batch_images",
            "Images that the network answered at once",
            buckets=IMAGES,
            registry=self.registry,
        )
        self.answers = Counter(
            "inkfill_answers", "Answered images", ["kind"], registry=self.registry
        )  # kind: known, other
        self.kept = Counter(
            "inkfill_kept", "Answers to keep", ["outcome"], registry=self.registry
        )  # outcome: written, dropped, failed

    def refused(self, status: int) -> None:
        """Counts a request that the server answered without asking the app: no route is known."""
        self.seconds.labels("unknown", str(status)).observe(0.0)

    def text(self) -> bytes:
        return generate_latest(self.registry)
