"""What the service counts, by route template and never by path, so that no member's id becomes a label."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5)


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """All counters of one process, in a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    requests: Counter = field(init=False)
    seconds: Histogram = field(init=False)
    decisions: Counter = field(init=False)
    degraded: Counter = field(init=False)
    events: Counter = field(init=False)
    shed: Counter = field(init=False)
    faults: Gauge = field(init=False)
    swaps: Gauge = field(init=False)
    sync: Gauge = field(init=False)
    waiting: Gauge = field(init=False)
    healthy: Gauge = field(init=False)

    def __post_init__(self) -> None:
        registry = self.registry
        for name, made in {
            "requests": Counter("tessera_requests", "Requests.", ["route", "method", "code"], registry=registry),
            "seconds": Histogram(
                "tessera_request_seconds", "Time to answer.", ["route"], buckets=_SECONDS, registry=registry
            ),
            "decisions": Counter("tessera_decisions", "Answers.", ["family", "mode"], registry=registry),
            "degraded": Counter("tessera_degraded", "Answers without a part.", ["part"], registry=registry),
            "events": Counter("tessera_events", "Events.", ["outcome"], registry=registry),
            "shed": Counter("tessera_shed", "Requests refused because of overload.", registry=registry),
            "faults": Gauge(
                "tessera_refused_files", "Sentences about files that were refused.", ["source"], registry=registry
            ),
            "swaps": Gauge("tessera_swaps", "How often what decides was swapped.", registry=registry),
            "sync": Gauge("tessera_journal_sync_seconds", "The last sync of the journal.", registry=registry),
            "waiting": Gauge("tessera_journal_waiting", "Works that wait for their commit.", registry=registry),
            "healthy": Gauge("tessera_journal_healthy", "1 while the journal acknowledges.", registry=registry),
        }.items():
            object.__setattr__(self, name, made)

    @lru_cache(maxsize=1024)  # noqa: B019 - there is one of it in a process, and few labels
    def request(self, route: str, method: str, status: int) -> tuple[Counter, Histogram]:
        """What counts and what times a request like this."""
        return self.requests.labels(route, method, status), self.seconds.labels(route)

    @lru_cache(maxsize=64)  # noqa: B019 - see above
    def decided(self, family: str, mode: str) -> Counter:
        """What counts an answer like this."""
        return self.decisions.labels(family, mode)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
