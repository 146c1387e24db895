"""What is said of files that are accepted, in the answer and in every status."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from sqlalchemy import create_engine, text

from api.tasks.store import sqlite_url
from dice_talk.client import Client
from dice_talk.speech_check import SILENT
from tests.conftest import Service
from tests.hostile.samples import RATE, TONE, sound

SAID = [{"code": "silent_audio", "message": SILENT.message, "blocking": False}]
STILL = np.zeros(2 * RATE, np.float32)
SILENT_AT_FIRST = sound(samples=np.concatenate([STILL, np.tile(TONE, 4)]))


def warnings(service: Service, speech: Any, portrait: Path, **fields: Any) -> Any:
    """The same in the answer, the status and the list."""
    answer = service.start(portrait, speech, **fields)
    assert answer.status_code == 200, answer.text
    said, task = answer.json()["warnings"], answer.json()["task_id"]
    assert service.status(task)["warnings"] == said
    assert requests.get(f"{service.url}/api/v1/synthesis", timeout=60).json()["tasks"][0]["warnings"] == said
    return said


@pytest.mark.parametrize(
    ("speech", "duration", "said"),
    [
        (sound(samples=STILL), None, SAID),
        (sound(samples=STILL[:1]), None, SAID),
        (sound(samples=STILL + np.float32(0.0001)), None, SAID),
        (sound("MP3", samples=STILL), 1, SAID),
        (sound(samples=np.tile(TONE, 4)), None, []),
        (SILENT_AT_FIRST, None, []),
        (SILENT_AT_FIRST, 1, SAID),
        (SILENT_AT_FIRST, 3, []),
    ],
    ids=["silence", "a sample", "nearly silence", "MP3", "a tone", "first silence", "no more of it", "more of it"],
)
def test_silence_in_what_is_used(
    real_service: Service, portrait: Path, speech: bytes, duration: Any, said: Any
) -> None:
    for _ in range(2):  # the second time the files are known
        assert warnings(real_service, speech, portrait, duration=duration) == said


def test_they_stay_with_the_task(serve: Any, portrait: Path, tmp_path: Path) -> None:
    """Over a restart, when it is repeated, shared, tried again and cancelled."""
    speech, keyed = sound(samples=STILL), {"Idempotency-Key": "order 17"}

    def start(service: Service) -> Any:
        files = {"image": portrait.read_bytes(), "audio": speech}
        url, data = f"{service.url}/api/v1/synthesis", {"emotion": "sad", "seed": 5}
        first = requests.post(f"{url}/start", files=files, data=data, headers=keyed, timeout=60).json()
        shared = requests.post(f"{url}/start", files=files, data=data, timeout=60).json()
        retried = requests.post(f"{url}/{first['task_id']}/retry", timeout=60).json()
        assert [one["warnings"] for one in (first, shared, retried)] == [SAID] * 3
        return first["task_id"], requests.post(f"{url}/{retried['task_id']}/cancel", timeout=60)

    service = serve(data_dir=tmp_path / "first")
    task, _ = start(service)
    service.wait(task)
    assert start(service)[0] == task
    with Client(service.url) as client:
        assert list(client.status(task).warnings) == SAID
        assert list(client.submit(portrait, speech).warnings) == SAID
    with create_engine(sqlite_url(service.settings.data_dir / "dice_talk.db")).connect() as database:
        stored = database.execute(text("SELECT warnings FROM tasks WHERE id = :id"), {"id": task}).scalar()
    assert "silent_audio" in str(stored)
