"""/metrics, /api/live and /api/ready, over real HTTP."""

import socket
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Service
from tests.features.test_documented_api import error_of
from tests.waiting import wait_for

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(service: Service) -> Samples:
    """All values by name and labels, read as Prometheus reads them."""
    answer = requests.get(f"{service.url}/metrics", timeout=60)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((f"dice_talk_{name}", frozenset(labels.items())), 0)


def test_finished_videos_are_counted_with_their_seconds(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    for seconds in (0.5, 1):
        service.wait(service.submit(portrait, speech, duration=seconds))
    samples = scrape(service)
    assert value(samples, "video_seconds_total", engine="lite") == pytest.approx(1.5)
    assert value(samples, "render_seconds_count", engine="lite") == 2
    assert 0 < value(samples, "render_seconds_sum", engine="lite") < 30
    start, status = "/api/v1/synthesis/start", "/api/v1/synthesis/{task_id}/status"
    assert value(samples, "requests_total", method="POST", route=start, status="200") == 2
    assert value(samples, "request_seconds_count", method="POST", route=start) == 2
    assert value(samples, "requests_total", method="GET", route=status, status="200") >= 2
    assert value(samples, "engine_processes") == 1
    assert value(samples, "info", version=requests.get(f"{service.url}/api/health", timeout=60).json()["version"]) == 1


def test_queue_slots_and_uploads(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated", queue_size=7)
    tasks = [service.submit(portrait, speech) for _ in range(3)]
    service.wait(tasks[0], "PROCESSING")
    samples = scrape(service)
    shown = [value(samples, name) for name in ("queue_length", "queue_size", "slots", "slots_busy", "uploads")]
    assert shown == [2, 7, 1, 1, 0]
    with socket.create_connection(("127.0.0.1", int(service.url.rsplit(":", 1)[1]))) as upload:
        head = "POST /api/v1/synthesis/start HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        upload.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x".encode())
        wait_for(lambda: value(scrape(service), "uploads") == 1)
    wait_for(lambda: value(scrape(service), "uploads") == 0)
    (tmp_path / "gate").touch()
    for task in tasks:
        service.wait(task)
    assert value(scrape(service), "queue_length") == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_memory_of_the_server_and_its_engines(serve: Any) -> None:
    service = serve(workers=2)
    wait_for(lambda: value(scrape(service), "engine_processes") == 2)
    samples = scrape(service)
    assert value(samples, "engine_memory_bytes") > 10e6
    assert samples["process_resident_memory_bytes", frozenset()] > 10e6


@pytest.mark.parametrize(
    ("kind", "failures"),
    [("refuses", {"input": 1}), ("exits", {"engine": 2, "gave_up": 1}), ("flaky", {"engine": 1})],
)
def test_failures_by_kind(serve: Any, portrait: Path, speech: Path, kind: str, failures: dict[str, int]) -> None:
    service = serve(kind, attempts=2)
    service.wait(service.submit(portrait, speech))
    samples = scrape(service)
    kinds = ("input", "engine", "disk", "gave_up")
    assert {
        name: count for name in kinds if (count := value(samples, "failures_total", engine="lite", kind=name))
    } == failures


def test_nothing_a_client_sends_becomes_a_label(real_service: Any) -> None:
    def series() -> set[Any]:
        return {key for key in scrape(real_service) if key[0] == "dice_talk_requests_total"}

    scrape(real_service)
    for verb in ("GET", "BREW"):
        requests.request(verb, f"{real_service.url}/nowhere", timeout=60)
        requests.request(verb, f"{real_service.url}/api/v1/synthesis/x/status", timeout=60)
    before = series()
    for number in range(20):
        requests.get(f"{real_service.url}/nowhere/{number}", timeout=60)
        requests.get(f"{real_service.url}/api/v1/synthesis/{number}/status?x={number}", timeout=60)
        requests.request(f"BREW{number}", f"{real_service.url}/nowhere", timeout=60)
        requests.request(f"BREW{number}", f"{real_service.url}/api/v1/synthesis/{number}/status", timeout=60)
    assert series() == before


def test_alive_and_ready(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated", queue_size=1)
    assert ask(service, "live").json() == {"status": "alive"}
    assert ask(service, "ready").json() == {"status": "ready"}
    service.wait(service.submit(portrait, speech), "PROCESSING")
    task = service.submit(portrait, speech)
    answer = ask(service, "ready")
    assert (answer.status_code, error_of(answer)) == (503, "Too many tasks are waiting")
    assert int(answer.headers["retry-after"]) > 0
    (tmp_path / "gate").touch()
    service.wait(task)
    assert ask(service, "ready").status_code == 200
    service.synthesis.stop()
    answer = ask(service, "ready")
    assert (answer.status_code, answer.json()["detail"]) == (503, "The server is shutting down")
    assert ask(service, "live").status_code == 200, "no reason to kill it"


def test_what_is_not_healthy_is_not_ready(serve: Any) -> None:
    answer = ask(serve(min_free_mb=1e9), "ready")
    assert (answer.status_code, error_of(answer)) == (503, "The service is not ready")
    assert answer.json()["detail"] == "The server has too little room on its disk"


def ask(service: Service, what: str) -> requests.Response:
    return requests.get(f"{service.url}/api/{what}", timeout=60)
