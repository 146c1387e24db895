"""Requests with a seed that are the same are rendered once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def folders(service: Any) -> set[str]:
    return {name.split("/")[1] for name in service.files() if name.startswith("tasks/")}


def test_a_repeated_request_is_completed_at_once(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    first = service.submit(portrait, speech, seed=5)
    service.wait(first)
    again = service.start(portrait, speech, seed=5).json()
    assert again["status"] == "COMPLETED"
    assert again["task_id"] != first
    assert service.status(again["task_id"])["progress"] == 1.0
    assert service.download(again["task_id"]).content == service.download(first).content
    assert folders(service) == {first}


def test_one_that_comes_while_the_first_is_in_work_shares_it(
    serve: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    service = serve("gated")
    with ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(lambda _: service.submit(portrait, speech, seed=5), range(8)))
    assert len(set(tasks)) == 8
    assert len(folders(service)) == 1
    (tmp_path / "gate").touch()
    videos = {service.download(task).content for task in tasks if service.wait(task)}
    assert len(videos) == 1


def test_without_a_seed_nothing_is_shared_and_the_drawn_one_is_told(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    tasks = [service.submit(portrait, speech) for _ in range(3)]
    assert len({service.wait(task)["seed"] for task in tasks}) == 3
    assert folders(service) == set(tasks)


def test_any_difference_is_another_render(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    same = {"seed": 0}
    requests = [same, {"seed": 1}, {"seed": 0, "fps": 25}, {"seed": 0, "emotion": "sad"}, {"seed": 0, "ref_scale": 3.5}]
    tasks = [service.submit(portrait, speech, **fields) for fields in requests]
    tasks.append(service.submit(portrait.read_bytes() + b"\0", speech, **same))
    assert len(folders(service)) == 6
    assert service.submit(portrait, speech, seed=0, engine="lite") not in folders(service), "auto meant lite"
    for task in tasks:
        service.wait(task)


def test_failures_are_not_shared(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve("refuses")
    first = service.submit(portrait, speech, seed=5)
    service.wait(first)
    second = service.submit(portrait, speech, seed=5)
    assert service.wait(second)["status"] == "FAILED"
    assert folders(service) == {first, second}


def test_a_result_whose_file_is_gone_is_rendered_again(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    first = service.submit(portrait, speech, seed=5)
    service.wait(first)
    service.synthesis.result_file(first).unlink()
    assert service.download(first).status_code == 404
    second = service.submit(portrait, speech, seed=5)
    assert service.wait(second)["status"] == "COMPLETED"
    assert service.download(second).status_code == 200
