"""Requests with a seed that are the same are rendered once, and nobody learns of the others."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests

from api import keys
from api.clock import Clock
from tests.waiting import wait_for


def test_a_repeated_request_is_completed_at_once(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    first = service.submit(portrait, speech, seed=5)
    service.wait(first)
    again = service.start(portrait, speech, seed=5).json()
    assert again["status"] == "COMPLETED"
    assert again["task_id"] != first
    assert service.status(again["task_id"])["progress"] == 1.0
    assert service.download(again["task_id"]).content == service.download(first).content
    assert service.render_folders() == {first}


def test_one_that_comes_while_the_first_is_in_work_shares_it(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve("gated")
    with ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(lambda _: service.submit(portrait, speech, seed=5), range(8)))
    assert len(set(tasks)) == 8
    assert len(service.render_folders()) == 1
    (tmp_path / "gate").touch()
    videos = {service.download(task).content for task in tasks if service.wait(task)}
    assert len(videos) == 1


def test_without_a_seed_nothing_is_shared_and_the_drawn_one_is_told(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    tasks = [service.submit(portrait, speech) for _ in range(3)]
    assert len({service.wait(task)["seed"] for task in tasks}) == 3
    assert service.render_folders() == set(tasks)


def test_any_difference_is_another_render(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    same = {"seed": 0}
    requests: list[dict[str, Any]] = [
        same,
        {"seed": 1},
        {"seed": 0, "fps": 25},
        {"seed": 0, "emotion": "sad"},
        {"seed": 0, "ref_scale": 3.5},
    ]
    tasks = [service.submit(portrait, speech, **fields) for fields in requests]
    tasks.append(service.submit(portrait.read_bytes() + b"\0", speech, **same))
    assert len(service.render_folders()) == 6
    assert service.submit(portrait, speech, seed=0, engine="lite") not in service.render_folders(), "auto meant lite"
    for task in tasks:
        service.wait(task)


def test_failures_are_not_shared(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("refuses")
    first = service.submit(portrait, speech, seed=5)
    service.wait(first)
    second = service.submit(portrait, speech, seed=5)
    assert service.wait(second)["status"] == "FAILED"
    assert service.render_folders() == {first, second}


def test_a_result_whose_file_is_gone_is_rendered_again(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    first = service.submit(portrait, speech, seed=5)
    service.wait(first)
    (service.settings.data_dir / "tasks" / first / "result.mp4").unlink()
    assert service.download(first).status_code == 404
    second = service.submit(portrait, speech, seed=5)
    assert service.wait(second)["status"] == "COMPLETED"
    assert service.download(second).status_code == 200


def test_the_second_owner_is_told_of_no_earlier_time(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    """The first one's task, of another day and in two attempts, is in none of the second one's answers."""
    file, now, late = tmp_path / "keys", Clock(), timedelta(days=-400)
    secrets = [keys.add(file, name) for name in ("alice", "bob")]
    service = serve("flaky", api_keys_file=file, retention_hours=24 * 1000, clock=lambda: now() + late)
    base = f"{service.url}/api/v1/synthesis"
    files = {"image": portrait.read_bytes(), "audio": speech.read_bytes()}
    data = {"emotion": "happy", "duration": 0.5, "seed": 5}
    alice, bob = ({"Authorization": f"Bearer {secret}"} for secret in secrets)

    def ask(client: dict[str, str], path: str) -> requests.Response:
        answer = requests.get(f"{base}{path}", headers=client, timeout=60)
        assert answer.status_code == 200
        return answer

    first = requests.post(f"{base}/start", files=files, data=data, headers=alice, timeout=60).json()["task_id"]
    wait_for(lambda: ask(alice, f"/{first}/status").json()["status"] == "COMPLETED")
    told = ask(alice, f"/{first}/status").json()
    assert told["attempts"] == 2
    video = service.settings.data_dir / "tasks" / first / "result.mp4"
    os.utime(video, (video.stat().st_mtime - 400 * 86_400,) * 2)
    late = timedelta()
    second = requests.post(f"{base}/start", files=files, data=data, headers=bob, timeout=60).json()
    assert second["status"] == "COMPLETED"
    answers = {what: ask(bob, f"/{second['task_id']}/{what}") for what in WHAT}
    answers["list"] = ask(bob, "")
    day = told["created_at"][:10]
    for what, answer in answers.items():
        shown = str(answer.headers) + (answer.text if what not in ("download", "poster") else "")
        assert day not in shown, what
        assert str(datetime.fromisoformat(day).year) not in shown.replace(str(now().year), ""), what
        assert first not in shown, what
    state = answers["status"].json()
    assert state["created_at"] == state["updated_at"] == answers["list"].json()["tasks"][0]["updated_at"]
    assert (state["attempts"], state["elapsed_seconds"], state["message"]) == (1, 0.0, "Completed")
    timings = answers["receipt"].json()["timings"]
    assert {timings[name] for name in ("created_at", "started_at", "finished_at")} == {state["created_at"]}
    assert (timings["attempts"], timings["queued_seconds"], timings["render_seconds"]) == (1, 0.0, 0.0)
    mine, theirs = answers["download"].headers, ask(alice, f"/{first}/download").headers
    modified = parsedate_to_datetime(mine["last-modified"]).replace(tzinfo=None)
    assert modified == datetime.fromisoformat(state["created_at"])
    assert mine["etag"] != theirs["etag"]
    assert answers["download"].content == ask(alice, f"/{first}/download").content


WHAT = ("status", "events", "receipt", "download", "poster")


def test_who_cancelled_is_not_told_how_it_went_on(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated")
    service.wait(service.submit(portrait, speech), "PROCESSING")
    first, second = (service.submit(portrait, speech, seed=5) for _ in range(2))
    answer = requests.post(f"{service.url}/api/v1/synthesis/{second}/cancel", timeout=30).json()
    assert (answer["attempts"], answer["elapsed_seconds"]) == (0, 0.0)
    (tmp_path / "gate").touch()
    assert service.wait(first)["attempts"] == 1
    assert service.status(second) == answer
