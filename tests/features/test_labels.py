"""Labels over HTTP: by every path to a video, without the visible one, and found again by verify."""

import asyncio
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from api import keys
from api.app import create_app
from api.clock import Clock
from api.service.synthesis import UNLABELLED_KEPT
from api.settings import Settings, StartError
from dice_talk.labels import reading
from tests.certificates import make_chain
from tests.conftest import ROOT, Service
from tests.features.test_documented_api import error_of


class Ahead(Clock):
    """A clock that can be put forward."""

    by = timedelta()

    def __call__(self) -> datetime:
        return super().__call__() + self.by


def labels_of(service: Service, task: str, folder: Path) -> reading.FileLabels:
    service.wait(task)
    path = folder / f"{task}.mp4"
    path.write_bytes(service.download(task).content)
    return reading.read(path)


def ask(service: Service, video: bytes, **headers: str) -> requests.Response:
    return requests.post(f"{service.url}/api/v1/verify", files={"video": video}, headers=headers, timeout=60)


def produce_id(found: reading.FileLabels) -> str:
    assert isinstance(found.aigc, dict)
    return found.aigc["ProduceID"]


def test_every_path_to_a_video(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    """Rendered, tried again after a crash, found finished, made by a retry."""
    service = serve("flaky", content_producer="某某公司", visible_label="always")
    first = service.submit(portrait, speech, seed=5)
    found = labels_of(service, first, tmp_path)
    assert service.status(first)["attempts"] == 2
    assert isinstance(found.aigc, dict) and found.aigc["ContentProducer"] == "某某公司"
    assert (produce_id(found), found.digital_source_type) == (first, "compositeSynthetic")
    assert found.visible_label == {"text": "AI生成 AI-generated", "shown": "always"}
    assert service.status(first)["visible_label"] == "AI生成 AI-generated"
    second = service.submit(portrait, speech, seed=5)
    assert labels_of(service, second, tmp_path) == found, "a shared video has the id of its first task"
    retried = requests.post(f"{service.url}/api/v1/synthesis/{first}/retry", json={"seed": 6}, timeout=30).json()
    assert produce_id(labels_of(service, retried["task_id"], tmp_path)) == retried["task_id"]


def test_other_labels_are_another_video_and_what_waits_keeps_its_own(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve("gated", content_producer="first", queue_size=9)
    tasks = [service.submit(portrait, speech, seed=5)]
    service.wait(tasks[0], "PROCESSING")
    service.synthesis._admission._settings = service.settings.model_copy(update={"content_producer": "second"})
    tasks += [service.submit(portrait, speech, seed=5) for _ in range(2)]
    (tmp_path / "gate").touch()
    found = [labels_of(service, task, tmp_path).aigc for task in tasks]
    assert [one["ContentProducer"] for one in found if isinstance(one, dict)] == ["first", "second", "second"]
    assert [one["ProduceID"] for one in found if isinstance(one, dict)] == [tasks[0], tasks[1], tasks[1]]


def test_a_video_without_the_visible_label(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    clock = Ahead()
    service = serve(visible_label="start", visible_label_optional=True, clock=clock, sweep_seconds=600)
    with_it = service.submit(portrait, speech, seed=5)
    without = service.submit(portrait, speech, seed=5, visible_label="false")
    again = service.submit(portrait, speech, seed=5, visible_label="false")
    assert labels_of(service, with_it, tmp_path).visible_label
    found = labels_of(service, without, tmp_path)
    assert (found.visible_label, produce_id(found)) == (None, without)
    assert labels_of(service, again, tmp_path) == found
    assert service.status(without)["visible_label"] is None
    retried = requests.post(f"{service.url}/api/v1/synthesis/{without}/retry", timeout=30).json()["task_id"]
    assert labels_of(service, retried, tmp_path).visible_label, "it has to be asked for each time"
    log = service.synthesis._store.unlabelled
    assert [(one.task_id, one.render_id, one.address) for one in log()] == [
        (task, without, "127.0.0.1") for task in (without, again)
    ]
    sha256 = ask(service, service.download(without).content).json()["sha256"]
    assert {one.sha256 for one in log()} == {sha256}
    printed = subprocess.run(
        [sys.executable, "-m", "api.unlabelled"],
        cwd=ROOT,
        env={"DICE_TALK_DATA_DIR": str(service.settings.data_dir)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(printed) == 3 and printed[0].startswith("asked_at,task_id") and without in printed[1]
    for by, left in ((UNLABELLED_KEPT - timedelta(hours=1), 2), (UNLABELLED_KEPT + timedelta(hours=1), 0)):
        clock.by = by
        sweep(service)
        assert len(log()) == left
    assert service.files() == [], "the videos themselves went long ago"


def sweep(service: Service) -> None:
    asyncio.run(service.synthesis.sweep())


@pytest.mark.parametrize("shown", ["off", "start"])
def test_it_is_optional_only_where_the_operator_allows_that(
    serve: Any, portrait: Path, speech: Path, shown: str
) -> None:
    service = serve(visible_label=shown)
    answer = service.start(portrait, speech, visible_label="false")
    if shown == "off":
        assert answer.status_code == 200, "there is none to leave out"
    else:
        assert (answer.status_code, error_of(answer)) == (
            400,
            "This server makes no video without its visible label",
        )
    assert service.synthesis._store.unlabelled() == []


def test_verify_knows_its_own_videos_beyond_their_files(serve: Any, portrait: Path, speech: Path) -> None:
    clock = Ahead()
    service = serve(verify_days=30, clock=clock, sweep_seconds=600)
    task = service.submit(portrait, speech)
    state = service.wait(task)
    video = service.download(task).content
    answer = ask(service, video).json()
    assert (answer["made_here"], answer["bytes"]) == (True, len(video))
    assert answer["made_at"] == state["updated_at"]
    assert answer["labels"]["aigc"]["ProduceID"] == task
    assert ask(service, video + bytes(8)).json()["made_here"] is False
    assert [name for name in service.files() if name.startswith("incoming/")] == [], "nothing is kept"
    for by, known in ((timedelta(days=29), True), (timedelta(days=31), False)):
        clock.by = by
        sweep(service)
        assert ask(service, video).json()["made_here"] is known
    assert service.files() == []


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b"\xff\xd8\xff\xe0nonsense", 400, "The file is not an MP4 video"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", 400, "The video can't be read"),
        (b"", 400, "The video file is empty"),
        (bytes(2_000_000), 413, "The upload is too large"),
    ],
    ids=["a picture", "cut off", "nothing", "too large"],
)
def test_what_cannot_be_verified(serve: Any, content: bytes, status: int, error: str) -> None:
    service = serve(max_video_mb=1)
    answer = ask(service, content)
    assert answer.status_code == status, answer.text
    assert error_of(answer) == error
    assert service.files() == ["incoming"] or service.files() == []


def test_where_keys_are_needed_verify_needs_one(serve: Any, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    secret = keys.add(file, "alice")
    service = serve(api_keys_file=file)
    assert ask(service, b"x").status_code == 401
    assert ask(service, b"x", Authorization=f"Bearer {secret}").status_code == 400


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Path]:
    pytest.importorskip("c2pa", reason="c2pa-python is not installed: ./start_server.sh install c2pa")
    folder = tmp_path / "chain"
    folder.mkdir()
    make_chain(folder)
    return {"c2pa_certificates": folder / "chain.pem", "c2pa_private_key": folder / "key.pem"}


def test_signed_videos(serve: Any, portrait: Path, speech: Path, pair: dict[str, Path], tmp_path: Path) -> None:
    service = serve(**pair)
    task = service.submit(portrait, speech, seed=5)
    service.wait(task)
    video = service.download(task).content
    answer = ask(service, video).json()
    assert answer["made_here"], "the hash is of the signed file"
    assert (answer["labels"]["c2pa"]["state"], answer["labels"]["c2pa"]["signer"]) == ("valid", "Test Operator")
    receipt = requests.get(f"{service.url}/api/v1/synthesis/{task}/receipt", timeout=60).json()
    del answer["labels"]["aigc"]["ProduceID"]
    assert receipt["labels"] == answer["labels"]
    assert receipt["result"]["sha256"] == answer["sha256"]
    make_chain(tmp_path / "chain")
    other = service.submit(portrait, speech, seed=5)
    assert produce_id(labels_of(service, other, tmp_path)) == other, "another certificate makes another video"
    pair["c2pa_private_key"].chmod(0o640)
    failed = service.wait(service.submit(portrait, speech, seed=6))
    assert (failed["status"], failed["message"]) == ("FAILED", "The video could not be signed")
    assert "other users can read" in failed["detail"]
    assert not [name for name in service.files() if name.endswith(".part")]


def test_a_server_that_could_not_sign_does_not_start(pair: dict[str, Path], tmp_path: Path) -> None:
    pair["c2pa_private_key"].chmod(0o644)
    with pytest.raises(StartError, match="other users can read"):
        settings: dict[str, Any] = {"data_dir": tmp_path / "data", **pair}
        create_app(Settings(**settings))
