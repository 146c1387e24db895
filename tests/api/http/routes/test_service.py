"""Routes about the service itself."""

import pytest

from dice_talk import __version__
from tests.api.asgi import call
from tests.api.parts import Parts
from tests.api.rendering.memory import MemorySlot, MemorySlots


def test_alive_whatever_it_can_do(parts: Parts) -> None:
    parts.admission.closed = True
    answer = call(parts.app, "GET", "/api/live")
    assert (answer.status, answer.json()) == (200, {"status": "alive"})


def test_ready_or_why_not(parts: Parts) -> None:
    parts.dispatcher.pool = MemorySlots(MemorySlot())
    answer = call(parts.app, "GET", "/api/ready")
    assert (answer.status, answer.json()) == (200, {"status": "ready"})
    parts.admission.closed = True
    answer = call(parts.app, "GET", "/api/ready")
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert (answer.json()["error"], answer.json()["detail"]) == (
        "The service is not ready",
        "The server is shutting down",
    )


def test_health_is_always_answered(parts: Parts) -> None:
    parts.dispatcher.pool = MemorySlots(MemorySlot())
    healthy = call(parts.app, "GET", "/api/health")
    assert healthy.status == 200
    assert healthy.json() == {
        "status": "healthy",
        "gpu_available": False,
        "model_loaded": False,
        "version": __version__,
        "engine": "lite",
        "weights": None,
        "queue_length": 0,
        "queue_size": 100,
        "slots": 1,
        "slots_busy": 0,
        "nodes": None,
        "detail": None,
    }
    parts.admission.closed = True
    assert call(parts.app, "GET", "/api/health").json()["status"] == "unhealthy"


def test_metrics_show_the_load(parts: Parts) -> None:
    parts.wait("a")
    answer = call(parts.app, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"\ndice_talk_queue_length 1.0\n" in answer.body


@pytest.mark.parametrize("path", ["/api/live", "/api/ready", "/api/health", "/metrics"])
def test_they_are_only_read(parts: Parts, path: str) -> None:
    assert call(parts.app, "POST", path).status == 405


def test_engines(parts: Parts) -> None:
    answer = call(parts.app, "GET", "/api/v1/engines")
    assert (answer.status, answer.json()["auto"]) == (200, "lite")
    assert {engine["name"] for engine in answer.json()["engines"]} >= {"lite", "diffusion"}
