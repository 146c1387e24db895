"""What a person learns before a task is begun, over real HTTP and with real child processes."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.conftest import Service
from tests.features.test_documented_api import error_of
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def service(real_service: Service) -> Service:
    return real_service


def preflight(service: Service, *, image: Any = None, audio: Any = None, **fields: Any) -> requests.Response:
    files = {name: file for name, file in (("image", image), ("audio", audio)) if file is not None}
    files = {name: file.read_bytes() if isinstance(file, Path) else file for name, file in files.items()}
    parts = files or {"crop": (None, "true")}
    return requests.post(f"{service.url}/api/v1/preflight", files=parts, data=fields, timeout=60)


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_a_portrait_and_a_recording(service: Service, portrait: Path, speech: Path) -> None:
    before = service.files()
    found = preflight(service, image=portrait, audio=speech, crop="true").json()
    assert (found["engine"], found["warnings"]) == ("lite", [])
    image, audio = found["image"], found["audio"]
    assert (image["width"], image["height"], len(image["faces"])) == (360, 360, 1)
    face, crop = image["faces"][0], image["crop"]
    assert face["index"] == 0
    assert crop["left"] <= face["left"] and face["left"] + face["width"] <= crop["left"] + crop["width"]
    assert image["output"] == {"width": 256, "height": 256}
    assert (audio["seconds"], audio["used_seconds"], audio["sample_rate"], audio["channels"]) == (8.25, 8.25, 24000, 1)
    assert -23 < audio["level_dbfs"] < audio["peak_dbfs"] < 0
    assert service.files() == before, "nothing is kept"


def test_how_long_rendering_would_take(service: Service, portrait: Path, speech: Path) -> None:
    def eta(**fields: Any) -> Any:
        return preflight(service, **fields).json()["eta_seconds"]

    wait_for(lambda: service.health()["slots_busy"] == 0)  # what ends meanwhile teaches
    both = eta(image=portrait, audio=speech)
    assert 0 < both["low"] < both["high"]
    assert eta(image=portrait, duration=8.25) == both, "with a duration, the recording need not be sent"
    assert eta(image=portrait, audio=speech, min_resolution=1024, fps=60)["high"] > 4 * both["high"]
    assert (eta(image=portrait), eta(audio=speech)) == (None, None)


def test_the_overlay_is_a_small_picture_with_boxes(service: Service, portrait: Path) -> None:
    with Image.open(portrait) as image:
        large = image.resize((1800, 1800))
    found = preflight(service, image=png(large), crop="1").json()["image"]
    kind, _, data = found["overlay"].partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as overlay:
        assert overlay.size == (640, 640)
        face, scale = found["faces"][0], 640 / 1800
        edge = overlay.getpixel((round(face["left"] * scale) + 1, round((face["top"] + face["height"] / 2) * scale)))
    assert isinstance(edge, tuple)
    assert edge[1] > edge[0] + 40 and edge[1] > edge[2] + 40, "the chosen face's box is green"


def test_each_file_alone(service: Service, portrait: Path, speech: Path) -> None:
    alone = preflight(service, image=portrait).json()
    assert alone["audio"] is None and alone["image"]["crop"] is None
    alone = preflight(service, audio=speech, duration=3).json()
    assert alone["image"] is None and (alone["audio"]["seconds"], alone["audio"]["used_seconds"]) == (8.25, 3.0)


def test_warnings_have_codes_and_words(service: Service, portrait: Path) -> None:
    with Image.open(portrait) as image:
        group = Image.new("RGB", (720, 360), "grey")
        group.paste(image)
        group.paste(image.resize((250, 250)), (400, 60))
    found = preflight(service, image=png(group)).json()
    assert [face["index"] for face in found["image"]["faces"]] == [0, 1]
    warning = found["warnings"][0]
    assert (set(warning), warning["code"]) == ({"code", "message", "blocking"}, "several_faces")
    found = preflight(service, image=png(group), face_index=4).json()
    assert found["warnings"][0]["code"] == "no_such_face" and "2 faces" in found["warnings"][0]["message"]
    found = preflight(service, image=png(Image.new("RGB", (300, 300)))).json()
    assert [(one["code"], one["blocking"]) for one in found["warnings"]] == [("no_face", True)]


def test_an_index_that_is_not_there_fails_the_task(service: Service, portrait: Path, speech: Path) -> None:
    state = service.wait(service.submit(portrait, speech, face_index=3))
    assert (state["status"], state["message"]) == ("FAILED", "There is no face 3: 1 face can be used in the image")


def test_refusals(service: Service, portrait: Path, speech: Path) -> None:
    nothing = preflight(service)
    assert (nothing.status_code, error_of(nothing)) == (400, "Neither image nor audio was sent")
    assert preflight(service, image=speech).status_code == 400
    assert error_of(preflight(service, audio=portrait)).startswith("Invalid audio file type")
    assert error_of(preflight(service, image=portrait.read_bytes()[:5000])) == "The image can't be decoded"
    assert error_of(preflight(service, image=portrait, min_resolution=9)).startswith("min_resolution must be between")
    assert error_of(preflight(service, image=portrait, face_index="2_0")) == "face_index must be a whole number"
    unknown = preflight(service, image=portrait, emotion="happy")
    assert (unknown.status_code, error_of(unknown)) == (422, "Unknown form field: emotion")
    assert preflight(service, image=portrait, engine="diffusion").status_code == 400
    assert preflight(service, image=b"\xff\xd8" + bytes(11 * 1024 * 1024)).status_code == 413


def test_a_picture_that_takes_too_long_is_refused(
    service: Service, portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 1000\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    monkeypatch.setattr("api.inspection.preflight.TIMEOUT_S", 0.3)
    answer = preflight(service, image=portrait)
    assert answer.json() == {
        "error": "The image can't be decoded",
        "detail": "Reading it took too much memory or time.",
        "code": "image_unreadable",
    }
