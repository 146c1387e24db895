"""python -m api.unlabelled: who asked for videos without the visible label, as CSV."""

import csv
from pathlib import Path
from typing import Any

from api import unlabelled
from api.tasks.model import TaskStatus
from api.tasks.store import TaskStore, sqlite_url
from tests.api.made import NOW, make_task


def test_all_that_is_known_of_them(typed: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    store = TaskStore(sqlite_url(tmp_path / "data" / "dice_talk.db"))
    store.add(make_task("a", "alice", unlabelled_for="192.0.2.1"))
    store.update("a", TaskStatus.PROCESSING)
    store.update("a", TaskStatus.COMPLETED, sha256="hash", finished_at=NOW)
    store.add(make_task("b", unlabelled_for="2001:db8::1"))
    store.add(make_task("c"))
    store.close()
    said = typed(unlabelled.main)
    rows = list(csv.DictReader(said.out.splitlines()))
    assert [tuple(row) for row in rows] == [unlabelled.COLUMNS] * 2
    assert [tuple(row.values()) for row in rows] == [
        ("2030-01-01 12:00:00", "a", "a", "alice", "192.0.2.1", "hash"),
        ("2030-01-01 12:00:00", "b", "b", "", "2001:db8::1", ""),
    ]


def test_nobody_asked(typed: Any, tmp_path: Path) -> None:
    said = typed(unlabelled.main, DICE_TALK_DATABASE_URL=f"sqlite:///{tmp_path}/other.db")
    assert said.out.splitlines() == [",".join(unlabelled.COLUMNS)]


def test_what_is_wrong_is_said_in_one_line(typed: Any) -> None:
    for variables in ({"DICE_TALK_DATABASE_URL": "rubbish"}, {"DICE_TALK_PORT": "x"}):
        said = typed(unlabelled.main, **variables)
        assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
        assert said.err.startswith("wrong setting: ")
