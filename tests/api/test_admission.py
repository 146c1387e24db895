"""Many submissions at the same moment."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from api.settings import Settings


@pytest.mark.timeout(300)
def test_of_101_submissions_at_once_exactly_100_may_wait(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve("gated", workers=2)
    for _ in range(2):
        service.wait(service.submit(portrait, speech), "PROCESSING")
    assert service.settings.queue_size == Settings(data_dir=tmp_path).queue_size == 100
    files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}

    def submit(number: int) -> requests.Response:
        url = f"{service.url}/api/v1/synthesis/start"
        picture = files["image"] + bytes(number % 10)  # ten uploads that are looked at, by a few at a time
        return requests.post(url, files=files | {"image": picture}, data={"emotion": "sad"}, timeout=250)

    with ThreadPoolExecutor(101) as pool:
        answers = list(pool.map(submit, range(101)))
    assert Counter(answer.status_code for answer in answers) == {200: 100, 503: 1}
    positions = [service.status(answer.json()["task_id"])["queue_position"] for answer in answers if answer.ok]
    assert sorted(positions) == list(range(1, 101))
    assert requests.get(f"{service.url}/api/health", timeout=60).json()["queue_length"] == 100
    assert len([name for name in service.files() if name.endswith("/image")]) == 102
