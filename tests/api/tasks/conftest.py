from collections.abc import Iterator
from pathlib import Path

import pytest

from api.tasks.store import TaskStore, sqlite_url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, of either kind."""
    if request.param == "sqlite":
        return str(sqlite_url(tmp_path / "dice_talk.db"))
    return str(request.getfixturevalue("postgres_server").create_database())


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgres_server").create_database())


@pytest.fixture
def store(url: str) -> Iterator[TaskStore]:
    store = TaskStore(url)
    yield store
    store.close()
