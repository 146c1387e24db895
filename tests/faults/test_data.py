"""What lies on the disk is gone, damaged, of another release, or somebody else's."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from api.tasks.store import TaskStore, sqlite_url
from api.tasks.tables import SCHEMA_VERSION
from tests.faults.process import server_process
from tests.waiting import wait_for

BIG = 64 * 1024 * 1024


def test_a_result_purged_while_it_is_downloaded_arrives_whole(serve: Any, portrait: Path, speech: Path) -> None:
    now = [datetime(2030, 1, 1)]
    service = serve(clock=lambda: now[0], sweep_seconds=0.05)
    task = service.submit(portrait, speech)
    service.wait(task)
    file = service.settings.data_dir / "tasks" / task / "result.mp4"
    with file.open("ab") as video:  # more than all buffers on the way hold
        video.truncate(BIG)
    expected = file.read_bytes()
    url = f"{service.url}/api/v1/synthesis/{task}/download"
    with requests.get(url, stream=True, timeout=30) as answer:
        chunks = answer.iter_content(65536)
        received = next(chunks)
        now[0] += timedelta(days=2)
        wait_for(lambda: not service.files())
        assert requests.get(url, timeout=60).status_code == 404
        assert received + b"".join(chunks) == expected


def test_a_cached_result_whose_file_is_gone_is_rendered_again(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve()
    lost = service.submit(portrait, speech, seed=1)
    video = service.download(lost).content if service.wait(lost) else b""
    (service.settings.data_dir / "tasks" / lost / "result.mp4").unlink()
    assert (gone := service.download(lost)).status_code == 404, gone.text
    again = service.start(portrait, speech, seed=1).json()
    assert again["status"] == "PENDING"
    assert service.wait(again["task_id"])["status"] == "COMPLETED"
    anew = service.download(again["task_id"]).content
    assert anew.replace(again["task_id"].encode(), lost.encode()) == video, "the same but for its ProduceID"


def test_inputs_that_are_gone_fail_their_task_alone(serve: Any, portrait: Path, speech: Path, tmp_path: Path) -> None:
    service = serve("gated")
    tasks = [service.submit(portrait, speech) for _ in range(3)]
    (service.settings.data_dir / "tasks" / tasks[1] / "audio").unlink()
    (tmp_path / "gate").touch()
    assert [service.wait(task)["status"] for task in tasks] == ["COMPLETED", "FAILED", "COMPLETED"]


def overwrite(file: Path) -> None:
    file.write_bytes(b"not a database" * 100)


def damage(file: Path) -> None:
    """The header is whole, the pages behind it are not."""
    TaskStore(sqlite_url(file)).close()
    data = bytearray(file.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    file.write_bytes(data)


def make_newer(file: Path) -> None:
    TaskStore(sqlite_url(file)).close()
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE schema_version SET version = 99, serves = 99")
        database.execute("ALTER TABLE tasks RENAME TO claims")
        database.commit()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (overwrite, "the database cannot be opened: file is not a database"),
        (damage, "the database is damaged: "),
        (make_newer, f"the database has version 99, this release reads {SCHEMA_VERSION}"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_in_one_line_and_kept(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    file = tmp_path / "data" / "dice_talk.db"
    file.parent.mkdir()
    spoil(file)
    before = file.read_bytes()
    with server_process(tmp_path) as service:
        assert service.process.wait(100) == 1
    (line,) = (tmp_path / "output").read_text().splitlines()
    assert line.startswith(f"DICE-Talk Server cannot start: {reason}")
    assert file.read_bytes() == before


def test_a_second_server_on_the_same_data_is_refused_in_one_line(tmp_path: Path, portrait: Path, speech: Path) -> None:
    with server_process(tmp_path, "quick") as first:
        with server_process(tmp_path, "quick", output=tmp_path / "second") as second:
            assert second.process.wait(100) == 1
        (line,) = (tmp_path / "second").read_text().splitlines()
        assert "another server uses the data folder" in line
        assert first.wait(first.submit(portrait, speech))["status"] == "COMPLETED"
