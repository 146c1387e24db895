"""Metrics for Prometheus: counts since the server's start, and the present load."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from dice_talk import __version__
from dice_talk.engines import ENGINES

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter, that nobody reads

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Clients may send any other word as a method. That must not make a new series each."""
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Seconds. An upload may take 300."""
RENDER_BUCKETS = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
"""Seconds: from a short video by lite to a long one by diffusion."""

Failure = Literal["input", "engine", "node", "disk", "storage", "gave_up"]
Delivery = Literal["delivered", "failed", "gave_up"]


@dataclass(frozen=True)
class Load:
    """How busy the service is."""

    queue_length: int
    queue_size: int
    slots: int
    slots_busy: int
    uploads: int
    nodes: Mapping[str, Sequence[int]] = field(default_factory=dict)  # by name: slots, and how many are busy


class Metrics:
    """The metrics of one server. Every label has few values, whatever clients send."""

    def __init__(self, engine_pids: Callable[[], list[int]]) -> None:
        """`engine_pids`: returns the ids of the engine processes on this machine."""
        self._engine_pids = engine_pids
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, CPU time, open files; needs /proc
        Info("dice_talk", "What is running.", registry=registry).info({"version": __version__})
        self._requests = Counter(
            "dice_talk_requests",
            "HTTP requests; status 0: the client went before it was answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "dice_talk_request_seconds",
            "From a request's head to the end of its answer.",
            ["method", "route"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._render_seconds = Histogram(
            "dice_talk_render_seconds",
            "What finished videos took to render.",
            ["engine"],
            buckets=RENDER_BUCKETS,
            registry=registry,
        )
        self._video_seconds = Counter(
            "dice_talk_video_seconds", "Length of the finished videos.", ["engine"], registry=registry
        )
        self._failures = Counter(
            "dice_talk_failures",
            "input: it can't be rendered; engine, node, disk: an attempt was lost; gave_up: so were all of a task.",
            ["engine", "kind"],
            registry=registry,
        )
        self._callbacks = Counter(
            "dice_talk_callbacks",
            "Attempts to deliver a callback; gave_up: after the last one.",
            ["outcome"],
            registry=registry,
        )
        self._load = {
            name: Gauge(f"dice_talk_{name}", words, registry=registry)
            for name, words in (
                ("queue_length", "Tasks that wait."),
                ("queue_size", "Tasks that may wait."),
                ("slots", "Tasks that can be rendered at the same time."),
                ("slots_busy", "Tasks being rendered."),
                ("uploads", "Uploads in progress."),
                ("engine_processes", "Engine processes that run."),
                ("engine_memory_bytes", "Resident memory of the engine processes; where there is a /proc."),
            )
        }
        self._node_slots = Gauge("dice_talk_node_slots", "Slots on a Ray cluster.", ["node"], registry=registry)
        self._node_slots_busy = Gauge(
            "dice_talk_node_slots_busy", "Slots on a Ray cluster that render.", ["node"], registry=registry
        )

        self._begin()

    def _begin(self) -> None:
        """Start every series at zero: Prometheus cannot tell how much a series grew to its first value."""
        for engine in ENGINES:
            self._render_seconds.labels(engine)
            self._video_seconds.labels(engine)
            for kind in get_args(Failure):
                self._failures.labels(engine, kind)
        for outcome in get_args(Delivery):
            self._callbacks.labels(outcome)

    def note_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """`route`: template of the path; None if no route matched."""
        method, route = method if method in METHODS else "other", route or "other"
        self._requests.labels(method, route, status).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def note_render(self, engine: str, seconds: float, video_seconds: float) -> None:
        """Count a finished video."""
        self._render_seconds.labels(engine).observe(seconds)
        self._video_seconds.labels(engine).inc(video_seconds)

    def note_failure(self, engine: str, kind: Failure) -> None:
        """Count a failed task or attempt."""
        self._failures.labels(engine, kind).inc()

    def note_callback(self, outcome: Delivery) -> None:
        """Count an attempt to deliver a callback."""
        self._callbacks.labels(outcome).inc()

    def text(self, load: Load) -> bytes:
        """Return all metrics in Prometheus' text format 0.0.4. Blocking."""
        for name in ("queue_length", "queue_size", "slots", "slots_busy", "uploads"):
            self._load[name].set(getattr(load, name))
        self._node_slots.clear()  # nodes come and go
        self._node_slots_busy.clear()
        for node, (slots, busy) in load.nodes.items():
            self._node_slots.labels(node).set(slots)
            self._node_slots_busy.labels(node).set(busy)
        pids = self._engine_pids()
        self._load["engine_processes"].set(len(pids))
        self._load["engine_memory_bytes"].set(_memory(pids))
        return generate_latest(self._registry)


def _memory(pids: Iterable[int]) -> int:
    """Return the resident bytes of processes. A process that has ended counts as 0."""
    pages = 0
    for pid in pids:
        with suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
