"""What a finished video says of itself, over real HTTP."""

import hashlib
import io
import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from PIL import Image

from api.clock import Clock
from api.inspection import children
from api.settings import Settings
from dice_talk import __version__
from dice_talk.engines import ENGINES
from dice_talk.options import RenderOptions
from tests.conftest import Service, running
from tests.features.test_documented_api import error_of
from tests.waiting import wait_for

PROMPTLY = """
import runpy
import sys

from dice_talk import priority

priority.MEASURE = 0
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.fixture(autouse=True)
def _promptly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring gives way to everything else: on a machine that is always busy, it would never come to its end."""
    monkeypatch.setattr(
        children, "command", lambda module, arguments: [sys.executable, "-c", PROMPTLY, module, *arguments]
    )


pytestmark = pytest.mark.timeout(400)  # measuring gives way to whatever else runs, on a busy machine for minutes


def receipt_of(service: Service, task_id: str) -> Any:
    """Once all is measured, which gives way to everything else that runs."""
    return wait_for(lambda: answer if (answer := ask(service, task_id).json())["measured"] else None, 300)


def ask(service: Service, task_id: str, what: str = "receipt") -> requests.Response:
    return requests.get(f"{service.url}/api/v1/synthesis/{task_id}/{what}", timeout=30)


@pytest.fixture(scope="module")
def finished(real_service: Service, portrait: Path, speech: Path) -> str:
    task = real_service.submit(portrait, speech, duration=2, crop="true", seed=5)
    assert real_service.wait(task)["status"] == "COMPLETED"
    return task


def test_a_receipt(real_service: Service, finished: str, portrait: Path, speech: Path) -> None:
    receipt = receipt_of(real_service, finished)
    video = real_service.download(finished).content
    assert receipt["task_id"] == finished
    assert receipt["inputs"] == {
        "image": {**digest(portrait.read_bytes()), "width": 360, "height": 360},
        "audio": {**digest(speech.read_bytes()), "seconds": 8.25},
    }
    assert receipt["options"] == RenderOptions(emotion="happy", duration=2, crop=True, seed=5).model_dump(mode="json")
    assert (receipt["engine"], receipt["weights"]["label"]) == ("lite", None)
    assert len(receipt["weights"]["sha256"]) == 9
    assert all(len(value) == 64 for value in receipt["weights"]["sha256"].values())
    assert receipt["versions"]["dice-talk-server"] == __version__
    assert receipt["versions"]["lite-engine"] == str(ENGINES["lite"].revision)
    assert receipt["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert receipt["versions"]["opencv-python-headless"]
    timings = receipt["timings"]
    assert timings["created_at"] <= timings["started_at"] <= timings["finished_at"]
    assert (timings["attempts"], timings["render_seconds"] > 0) == (1, True)
    assert receipt["result"] == {
        **{"width": 256, "height": 256, "fps": 24, "frames": 48, "seconds": 2.0},
        **digest(video),
    }
    measured = receipt["measured"]
    assert (measured["frames"], measured["face_found_share"]) == (48, 1.0)
    assert abs(measured["lip_lag_frames"]) <= 2 and measured["lip_correlation"] > 0.5
    assert measured["identity_similarity"] is None and len(measured["why_not"]) == 1


def digest(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def test_it_is_measured_once_for_all_who_share_the_video(
    real_service: Service, finished: str, portrait: Path, speech: Path
) -> None:
    first = receipt_of(real_service, finished)
    other = real_service.submit(portrait, speech, duration=2, crop="true", seed=5)
    began = time.monotonic()
    second = ask(real_service, other).json()
    assert time.monotonic() - began < 2
    assert second["task_id"] == other
    assert {**second, "task_id": 0, "timings": 0} == {**first, "task_id": 0, "timings": 0}
    assert second["timings"]["queued_seconds"] == 0
    kept = real_service.settings.data_dir / "tasks" / finished / "measured.json"
    assert json.loads(kept.read_text())["measured"] == first["measured"]


def test_the_poster_is_a_picture_of_the_videos_size(real_service: Service, finished: str) -> None:
    for _ in range(2):
        answer = ask(real_service, finished, "poster")
        assert answer.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (256, 256))
    assert not [
        file for file in real_service.files() if file.startswith(f"tasks/{finished}") and file.endswith(".part")
    ]


@pytest.mark.parametrize("what", ["receipt", "poster"])
def test_there_is_none_before_the_end_and_none_of_what_failed(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path, what: str
) -> None:
    service = serve("gated")
    task = service.submit(portrait, speech)
    answer = ask(service, task, what)
    assert (answer.status_code, error_of(answer)) == (400, "Task not completed yet")
    (tmp_path / "gate").touch()
    service.wait(task)
    assert ask(service, task, what).status_code == 200
    assert ask(service, "f47ac10b-58cc-4372-a567-0e02b2c3d479", what).status_code == 404


def test_what_is_not_known_is_not_vouched_for(serve: Any, portrait: Path, speech: Path) -> None:
    """Grey frames by an engine that names no versions, and a clock years behind: all weights were touched since."""
    behind = Clock()
    service = serve("quick", clock=lambda: behind() - timedelta(days=10_000))
    task = service.submit(portrait, speech, duration=1.5)
    service.wait(task)
    receipt = receipt_of(service, task)
    assert set(receipt["weights"]["sha256"].values()) == {None}
    assert (receipt["versions"], receipt["measured"]["face_found_share"]) == ({}, 0.0)
    assert "no face was found" in receipt["measured"]["why_not"][0]


def test_nobody_waits_long_for_what_is_being_measured(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.inspection.receipts.PATIENCE_S", 0.0)
    service = serve("quick")
    task = service.submit(portrait, speech)
    service.wait(task)
    early = ask(service, task).json()
    assert early["measured"] is None and early["result"]["frames"] == 12
    assert {**receipt_of(service, task), "measured": None} == early


def test_measuring_that_is_cut_off_is_begun_again(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve("quick")
    task = service.submit(portrait, speech)
    service.wait(task)
    with monkeypatch.context() as patch:
        patch.setattr("api.inspection.receipts.MEASURE_S", 0.01)
        assert ask(service, task).json()["measured"] is None
    assert receipt_of(service, task)["measured"]["frames"] == 12


@pytest.mark.parametrize("gone", ["result.mp4", "image"])
def test_a_file_that_is_gone_is_no_fault_of_the_server(serve: Any, portrait: Path, speech: Path, gone: str) -> None:
    service = serve("quick")
    task = service.submit(portrait, speech)
    service.wait(task)
    folder = service.settings.data_dir / "tasks" / task
    (folder / gone).unlink()
    assert ask(service, task).status_code == 404
    assert ask(service, task, "poster").status_code == (404 if gone == "result.mp4" else 200)


def test_a_damaged_note_is_written_anew(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("quick")
    task = service.submit(portrait, speech)
    service.wait(task)
    note = service.settings.data_dir / "tasks" / task / "measured.json"
    note.write_text('{"image"')
    assert receipt_of(service, task)["measured"] == json.loads(note.read_text())["measured"]


def test_who_waits_for_a_figure_does_not_keep_the_server_from_stopping(
    tmp_path: Path, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endless child stands for one that gives way to everything else on the machine."""
    monkeypatch.setattr("api.inspection.receipts.PATIENCE_S", 600.0)
    settings = Settings(data_dir=tmp_path / "data", shutdown_seconds=0.1)
    with ThreadPoolExecutor(1) as pool:
        with running(settings, "quick", tmp_path / "gate") as service:
            task = service.submit(portrait, speech)
            service.wait(task)
            command = children.command

            def stuck(module: str, arguments: Sequence[str]) -> list[str]:
                return ["sleep", "600"] if module == "dice_talk.measure" else command(module, arguments)

            monkeypatch.setattr(children, "command", stuck)
            answer = pool.submit(ask, service, task)
            wait_for(lambda: [one for one in psutil.Process().children() if one.name() == "sleep"])
        assert (answer.result().status_code, answer.result().json()["measured"]) == (200, None)
    assert not [one for one in psutil.Process().children() if one.name() == "sleep"]


def test_a_video_that_goes_while_it_is_looked_at(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("quick")
    task = service.submit(portrait, speech)
    service.wait(task)
    shutil.rmtree(service.settings.data_dir / "tasks" / task)
    for what in ("receipt", "poster"):
        assert ask(service, task, what).status_code == 404


def test_a_task_that_is_removed_while_it_is_measured(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("api.inspection.receipts.PATIENCE_S", 0.0)
    service = serve("quick")
    task = service.submit(portrait, speech)
    service.wait(task)
    assert ask(service, task).json()["measured"] is None
    assert requests.delete(f"{service.url}/api/v1/synthesis/{task}", timeout=30).status_code == 204
    assert ask(service, task).status_code == 404
    measuring = service.app.state.services.receipts._measuring
    wait_for(lambda: not measuring, 60)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
