from collections.abc import Iterator
from pathlib import Path

import pytest

from api.settings import Settings
from api.storage.local import LocalFiles
from api.tasks.store import TaskStore, sqlite_url


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a service that keeps its data in an empty folder."""
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
