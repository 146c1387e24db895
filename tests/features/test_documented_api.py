"""The documented API, spoken over real HTTP. Tasks are rendered by quick fake engines unless the video matters."""

import re
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests

from dice_talk import __version__
from dice_talk.emotions import Emotion
from dice_talk.video import probe
from tests.error_bodies import check_error

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def error_of(answer: requests.Response) -> str:
    """The message of an error, after checking its form."""
    body = answer.json()
    check_error(body, answer.status_code)
    assert answer.headers["content-type"] == "application/json"
    assert "Traceback" not in answer.text
    assert "/" not in body["error"] or "image/jpeg" in body["error"] or "audio/wav" in body["error"]
    return str(body["error"])


def test_health(serve: Any) -> None:
    health = requests.get(f"{serve(workers=2).url}/api/health", timeout=60).json()
    assert health["status"] == "healthy"
    assert health["version"] == __version__
    assert isinstance(health["gpu_available"], bool)
    assert isinstance(health["model_loaded"], bool)
    assert (health["engine"], health["queue_length"], health["slots"], health["slots_busy"]) == ("lite", 0, 2, 0)


def test_a_task_from_start_to_download(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve()
    created = service.start(portrait, speech, seed=7).json()
    assert set(created) == {"task_id", "status", "message", "warnings"}
    assert (created["status"], created["message"]) == ("PENDING", "Task created successfully")
    assert uuid.UUID(created["task_id"]).version == 4
    state = service.wait(created["task_id"])
    assert state["status"] == "COMPLETED"
    assert state["progress"] == 1.0
    assert TIME.fullmatch(state["created_at"])
    assert TIME.fullmatch(state["updated_at"])
    assert (state["seed"], state["engine"], state["duration"], state["attempts"]) == (7, "lite", 0.5, 1)
    video = service.download(created["task_id"])
    assert video.headers["content-type"] == "video/mp4"
    assert video.headers["content-disposition"] == 'attachment; filename="result.mp4"'
    file = tmp_path / "result.mp4"
    file.write_bytes(video.content)
    assert probe(file).frames == 12


def test_progress_never_goes_back_and_names_the_stage(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated")
    first, second = (service.submit(portrait, speech) for _ in range(2))
    state = service.wait(first, "PROCESSING")
    assert 0 <= state["progress"] < 1
    assert service.status(second)["queue_position"] == 1
    assert "position 1" in service.status(second)["message"]
    assert error_of(service.download(first)) == "Task not completed yet"
    (tmp_path / "gate").touch()
    assert service.wait(second)["progress"] == 1.0


def test_first_in_first_out_and_two_at_once(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated", workers=2)
    tasks = [service.submit(portrait, speech) for _ in range(5)]
    for task in tasks[:2]:
        service.wait(task, "PROCESSING")
    assert [service.status(task)["queue_position"] for task in tasks] == [None, None, 1, 2, 3]
    health = requests.get(f"{service.url}/api/health", timeout=60).json()
    assert (health["queue_length"], health["slots_busy"]) == (3, 2)
    (tmp_path / "gate").touch()
    for task in tasks:
        assert service.wait(task)["status"] == "COMPLETED"


def test_full_queue(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated", queue_size=3)
    service.wait(service.submit(portrait, speech), "PROCESSING")
    tasks = [service.submit(portrait, speech) for _ in range(3)]
    refused = service.start(portrait, speech)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert error_of(refused) == "Too many tasks are waiting"
    (tmp_path / "gate").touch()
    for task in tasks:
        assert service.wait(task)["status"] == "COMPLETED"
    assert service.start(portrait, speech).status_code == 200


def test_failure_is_told_with_what_to_try(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("refuses")
    task = service.submit(portrait, speech)
    state = service.wait(task)
    assert (state["status"], state["message"], state["detail"]) == (
        "FAILED",
        "No face was found",
        "Send a clear portrait.",
    )
    assert (state["error_code"], state["error_params"]) == ("no_face", None)
    answer = service.download(task)
    assert (answer.status_code, error_of(answer)) == (400, "Task not completed yet")
    assert not any(name.endswith(".part") for name in service.files())


def test_download_takes_ranges_conditions_and_head(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    task = service.submit(portrait, speech)
    service.wait(task)
    whole = service.download(task)
    part = service.download(task, Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert service.download(task, **{"If-None-Match": whole.headers["etag"]}).status_code == 304
    beyond = service.download(task, Range="bytes=99999999-")
    assert (beyond.status_code, error_of(beyond)) == (416, "Requested Range Not Satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"
    since = {"If-Modified-Since": whole.headers["last-modified"]}
    assert service.download(task, **since).status_code == 304
    stale = {"Range": "bytes=0-9", "If-Range": '"another"'}
    assert service.download(task, **stale).content == whole.content
    head = requests.head(whole.url, timeout=60)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole.content)))


@pytest.mark.parametrize("task_id", ["f47ac10b-58cc-4372-a567-0e02b2c3d479", "nonsense", "..", "%2e%2e%2fetc%2fpasswd"])
def test_unknown_task(real_service: Any, task_id: str) -> None:
    for verb in ("status", "download"):
        answer = requests.get(f"{real_service.url}/api/v1/synthesis/{task_id}/{verb}", timeout=60)
        assert answer.status_code == 404
        assert error_of(answer) in ("Task not found", "Not Found")


def test_unknown_route_and_wrong_verb(real_service: Any) -> None:
    assert error_of(requests.get(f"{real_service.url}/nothing", timeout=60)) == "Not Found"
    answer = requests.get(f"{real_service.url}/api/v1/synthesis/start", timeout=60)
    assert (answer.status_code, error_of(answer)) == (405, "Method Not Allowed")
    assert answer.headers["allow"] == "POST"


def test_unexpected_error_says_nothing_of_the_inside(
    serve: Any, portrait: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    monkeypatch.setattr(service.synthesis, "health", lambda: 1 / 0)
    answer = requests.get(f"{service.url}/api/health", timeout=60)
    assert (answer.status_code, error_of(answer)) == (500, "Internal server error")
    assert "division" not in answer.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ref_scale": 10.1}, "ref_scale must be between 0 and 10, got 10.1"),
        ({"emo_scale": -0.1}, "emo_scale must be between 0 and 10"),
        ({"inference_steps": 7}, "inference_steps must be between 8 and 50"),
        ({"duration": 0.09}, "duration must be between 0.1 and 300"),
        ({"duration": 301}, "duration must be between 0.1 and 300"),
        ({"fps": 7}, "fps must be between 8 and 60"),
        ({"fps": 61}, "fps must be between 8 and 60"),
        ({"seed": -1}, "seed must be between 0 and 2147483647"),
        ({"seed": 2**31}, "seed must be between 0 and 2147483647"),
        ({"dynamic_scale": 0}, "dynamic_scale must be between 0.1 and 3"),
        ({"min_resolution": 127}, "min_resolution must be between 128 and 2048"),
        ({"min_resolution": 2049}, "min_resolution must be between 128 and 2048"),
        ({"expand_ratio": 2.1}, "expand_ratio must be between 0.1 and 2"),
    ],
)
def test_out_of_range(real_service: Any, portrait: Path, speech: Path, fields: Any, message: str) -> None:
    answer = real_service.start(portrait, speech, **fields)
    assert answer.status_code == 400
    assert message in error_of(answer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fps": "2_4"}, "fps must be a whole number"),
        ({"emotion": None}, "emotion is required"),
        ({"emotion": "glad"}, "emotion is not one of the known values"),
        ({"ref_scale": "much"}, "ref_scale must be a number"),
        ({"ref_scale": "nan"}, "ref_scale must be a number"),
        ({"duration": "inf"}, "duration must be a number"),
        ({"fps": "2.5"}, "fps must be a whole number"),
        ({"seed": "x"}, "seed must be a whole number"),
        ({"crop": "yes"}, "crop must be true, false, 1 or 0"),
        ({"engine": "best"}, "engine is not one of the known values"),
        ({"colour": "red", "shape": "x"}, "Unknown form field: colour; Unknown form field: shape"),
        ({"fps": "x", "seed": -1}, "fps must be a whole number"),
    ],
)
def test_malformed_form(real_service: Any, portrait: Path, speech: Path, fields: Any, message: str) -> None:
    answer = real_service.start(portrait, speech, **fields)
    assert answer.status_code == 422
    assert message in error_of(answer)


@pytest.mark.parametrize("value", ["true", "false", "1", "0", "True", "False"])
def test_crop_values(serve: Any, portrait: Path, speech: Path, value: str) -> None:
    assert serve().start(portrait, speech, crop=value).status_code == 200


@pytest.mark.parametrize("emotion", [emotion.value for emotion in Emotion])
def test_all_emotions_are_taken(serve: Any, portrait: Path, speech: Path, emotion: str) -> None:
    assert serve().start(portrait, speech, emotion=emotion).status_code == 200


def test_missing_files_and_wrong_bodies(real_service: Any, portrait: Path) -> None:
    url = f"{real_service.url}/api/v1/synthesis/start"
    answer = requests.post(url, files={"image": portrait.read_bytes()}, data={"emotion": "sad"}, timeout=60)
    assert (answer.status_code, error_of(answer)) == (422, "audio is required")
    answer = requests.post(url, json={"emotion": "sad"}, timeout=60)
    assert (answer.status_code, error_of(answer)) == (422, "The request is not a form with files")
    answer = requests.post(
        url, data=b"--x\r\nnonsense", headers={"content-type": "multipart/form-data; boundary=x"}, timeout=60
    )
    assert (answer.status_code, error_of(answer)) == (400, "The form can't be read")


def test_files_are_told_by_content(real_service: Any, portrait: Path, speech: Path) -> None:
    image, audio = portrait.read_bytes(), speech.read_bytes()
    for wrong in (audio, b"GIF89a" + bytes(100), b"RIFF\0\0\0\0WEBPVP8 " + bytes(50), b"<svg/>"):
        answer = real_service.start(wrong, speech)
        assert answer.status_code == 400
        assert error_of(answer) == "Invalid image file type. Allowed types: ['image/jpeg', 'image/png']"
        assert answer.json()["detail"].startswith("The file is")
    for wrong in (image, b"fLaC" + bytes(100), b"OggS" + bytes(100), b"#EXTM3U\nfile:///etc/passwd"):
        answer = real_service.start(portrait, wrong)
        assert answer.status_code == 400
        assert error_of(answer) == "Invalid audio file type. Allowed types: ['audio/wav', 'audio/mpeg']"
        assert answer.json()["detail"].startswith("The file is a")
    assert error_of(real_service.start(image[:5000], speech)) == "The image can't be decoded"
    assert error_of(real_service.start(portrait, audio[:40])) in ("The audio can't be decoded", "The audio is empty")


def test_engine_that_is_not_there(real_service: Any, portrait: Path, speech: Path) -> None:
    answer = real_service.start(portrait, speech, engine="diffusion")
    assert answer.status_code == 400
    assert error_of(answer) == "Engine 'diffusion' is not available on this server"
    assert "Missing: " in answer.json()["detail"]


def test_refused_uploads_leave_nothing(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    service.start(portrait, speech, fps=1000)
    service.start(b"nonsense", speech)
    service.start(portrait, speech, image2="x")
    assert service.files() == []


def test_openapi_documents_every_route(real_service: Any) -> None:
    document = requests.get(f"{real_service.url}/openapi.json", timeout=60).json()
    errors = {
        path: {status for status in operation["responses"] if status >= "400"}
        for path, operations in document["paths"].items()
        for operation in operations.values()
    }
    assert errors == {
        "/api/health": {"500"},
        "/api/live": {"500"},
        "/api/ready": {"500", "503"},
        "/metrics": {"500"},
        "/api/v1/engines": {"500"},
        "/api/v1/synthesis/start": {"400", "408", "409", "413", "422", "500", "503"},
        "/api/v1/verify": {"400", "408", "413", "422", "500", "503"},
        "/api/v1/synthesis": {"400", "422", "500"},
        "/api/v1/synthesis/{task_id}": {"404", "500"},
        "/api/v1/synthesis/{task_id}/events": {"404", "500"},
        "/api/v1/synthesis/{task_id}/cancel": {"404", "409", "500"},
        "/api/v1/synthesis/{task_id}/retry": {"400", "404", "408", "413", "422", "500", "503"},
        "/api/v1/preflight": {"400", "408", "413", "422", "500", "503"},
        "/api/v1/synthesis/{task_id}/poster": {"400", "404", "500"},
        "/api/v1/synthesis/{task_id}/receipt": {"400", "404", "500"},
        "/api/v1/synthesis/{task_id}/status": {"404", "500"},
        "/api/v1/synthesis/{task_id}/download": {"400", "404", "412", "416", "500"},
    }
    form = document["components"]["schemas"]["RenderForm"]["properties"]
    assert (form["fps"]["minimum"], form["fps"]["maximum"], form["fps"]["default"]) == (8, 60, 24)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    seed = form["seed"]
    assert (seed["minimum"], seed["maximum"]) == (0, 2147483647)
    assert list(form)[:2] == ["image", "audio"]
    for page in ("/docs", "/redoc"):
        text = requests.get(f"{real_service.url}{page}", timeout=60).text
        assert "https://" not in text, "the pages must work without the internet"
