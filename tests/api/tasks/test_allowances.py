"""How several servers count the requests of one key."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from api.tasks.allowances import Allowance
from api.tasks.store import TaskStore


@pytest.fixture
def store(postgres_url: str) -> Iterator[TaskStore]:
    store = TaskStore(postgres_url)
    yield store
    store.close()


def later(store: TaskStore, seconds: float) -> None:
    with store._db.begin() as db:
        db.execute(sa.text(f"UPDATE allowances SET given_at = given_at - interval '{seconds} seconds'"))


def test_no_more_than_the_limit_is_allowed_in_a_minute(store: TaskStore) -> None:
    assert store.allow_requests("alice", 6, 10) == Allowance(6, 0)
    later(store, 20)
    assert store.allow_requests("alice", 6, 10) == Allowance(4, 0)
    refused = store.allow_requests("alice", 6, 10)
    assert refused.requests == 0
    assert 38 < refused.wait_s <= 40
    assert store.allow_requests("bob", 6, 10).requests == 6, "each key has a limit of its own"
    later(store, 41)
    assert store.allow_requests("alice", 9, 10).requests == 6
    with store._db.connect() as db:
        assert db.scalar(sa.text("SELECT count(*) FROM allowances WHERE owner = 'alice'")) == 2, "old ones are removed"


def test_many_who_ask_at_once_get_no_more(store: TaskStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: store.allow_requests("alice", 3, 50).requests, range(40)))
    assert sum(given) == 50
