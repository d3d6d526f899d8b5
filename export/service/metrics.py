"""Metrics for Prometheus. Each server has its own registry, so that two in one process share nothing."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
IMAGES: Final = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The server's metrics; `text` is the response of /metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("selfsyn_requests", "Requests answered.", ["endpoint", "status"], registry=self.registry)
        self.seconds = Histogram(
            "selfsyn_request_seconds", "From head to last byte.", ["endpoint"], buckets=SECONDS, registry=self.registry
        )
        self.admitted = Gauge("selfsyn_admitted_requests", "Being read, waiting, computed or answered.", registry=self.registry)
        self.waiting = Gauge("selfsyn_waiting_runs", "Images or small batches that wait for the net.", registry=self.registry)
        self.running = Gauge("selfsyn_running_runs", "Runs of the net under way.", registry=self.registry)
        self.run_seconds = Histogram("selfsyn_run_seconds", "One run of the net.", buckets=SECONDS, registry=self.registry)
        self.run_images = Histogram("selfsyn_run_images", "Images in one run.", buckets=IMAGES, registry=self.registry)
        self.model = Gauge("selfsyn_model", "1 for the version that is served.", ["version", "digest"], registry=self.registry)
        self.loads = Counter("selfsyn_model_loads", "Versions served or refused.", ["outcome"], registry=self.registry)
        for outcome in ("served", "refused"):
            self.loads.labels(outcome)

    def serves(self, *, version: int, digest: str) -> None:
        """Record that another version is served from now on."""
        self.loads.labels("served").inc()
        self.model.clear()
        self.model.labels(str(version), digest).set(1)

    def text(self) -> tuple[bytes, str]:
        """-> the exposition and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4
