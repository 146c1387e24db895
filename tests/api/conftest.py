import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.settings import Settings
from api.storage.local import LocalFiles
from api.tasks.store import TaskStore, sqlite_url
from tests.api.parts import Parts, make_parts


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a service with an empty data folder."""
    settings = Settings(data_dir=tmp_path / "data", log_dir=tmp_path / "logs", min_free_mb=0, engine="lite")
    settings.data_dir.mkdir()
    return settings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TaskStore]:
    store = TaskStore(sqlite_url(tmp_path / "a #strange? name.db"))
    yield store
    store.close()


@pytest.fixture
def files(settings: Settings) -> LocalFiles:
    return LocalFiles(settings)


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs a command in this process and an empty folder: typed(keys.main, "add", "alice", DICE_TALK_PORT="1")."""

    def run(main: Callable[[], None], *arguments: str, **variables: str) -> Said:
        capsys.readouterr()
        code: object = 0
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["command", *arguments])
            for name, value in variables.items():
                patch.setenv(name, value)
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
        said = capsys.readouterr()
        if isinstance(code, int):
            return Said(code, said.out, said.err)
        return Said(1, said.out, f"{said.err}{code}\n")

    return run


@pytest.fixture
def parts(settings: Settings, store: TaskStore, files: LocalFiles) -> Parts:
    return make_parts(settings, store, files)
