"""The cache of tasks: it never tells what was read before a write."""

import random

import pytest

from api.tasks import cache as module
from api.tasks.cache import TaskCache, TaskSnapshot
from api.tasks.model import Task, TaskStatus
from tests.api.made import make_render, make_task


@pytest.fixture
def cache() -> TaskCache:
    return TaskCache()


def put(cache: TaskCache, task: Task, waiting: list[int] | None = None) -> None:
    cache.put(task, waiting, cache.generation())


def running(render_id: str = "a") -> Task:
    return make_task(render_id, render=make_render(render_id, status=TaskStatus.PROCESSING, number=1))


def waiting(number: int, render_id: str = "a") -> Task:
    return make_task(render_id, render=make_render(render_id, number=number))


def test_what_was_put_is_got(cache: TaskCache) -> None:
    assert cache.get("a") is None
    put(cache, running())
    assert cache.get("a") == TaskSnapshot(running(), 0)


def test_the_place_in_the_queue(cache: TaskCache) -> None:
    put(cache, waiting(5))
    assert cache.get("a") is None, "the queue was not read"
    put(cache, waiting(5), [2, 3, 5, 8])
    assert cache.get("a") == TaskSnapshot(waiting(5), 2)
    put(cache, waiting(8, "b"))
    found = cache.get("b")
    assert found and found.ahead == 3, "the queue is the same for all"


def test_what_was_read_before_a_write_is_not_cached(cache: TaskCache) -> None:
    generation = cache.generation()
    cache.invalidate("b", TaskStatus.PROCESSING)
    cache.put(running(), None, generation)
    assert cache.get("a") is None
    generation = cache.generation()
    cache.clear()
    cache.put(running(), None, generation)
    assert cache.get("a") is None


def test_every_write_makes_a_new_generation(cache: TaskCache) -> None:
    seen = [cache.generation()]
    for _ in range(3):
        cache.invalidate("unknown", TaskStatus.PENDING)
        seen.append(cache.generation())
        cache.clear()
        seen.append(cache.generation())
    put(cache, running())
    assert len(set(seen)) == 7
    assert cache.generation() == seen[-1], "what was read changes nothing"


def test_a_write_drops_the_render_for_all_its_tasks(cache: TaskCache) -> None:
    put(cache, running())
    put(cache, make_task("b", render=running().render))
    cache.invalidate("a", TaskStatus.PROCESSING)
    assert cache.get("a") is cache.get("b") is None
    put(cache, running())
    assert cache.get("b"), "the task itself was not written"


def test_a_task_that_was_written_is_dropped_too(cache: TaskCache) -> None:
    put(cache, running())
    cache.invalidate("a", TaskStatus.PROCESSING, "a")
    put(cache, make_task("b", render=running().render))
    assert cache.get("a") is None
    assert cache.get("b")


def test_progress_leaves_the_queue_as_it_is_and_a_move_does_not(cache: TaskCache) -> None:
    put(cache, running("b"))
    put(cache, waiting(5), [5])
    cache.invalidate("b", TaskStatus.PROCESSING)
    assert cache.get("a")
    cache.invalidate("b", TaskStatus.COMPLETED)  # it is not cached, so nobody knows whether it moved
    assert cache.get("a") is None
    put(cache, waiting(5), [5])
    put(cache, running("b"))
    cache.invalidate("b", TaskStatus.COMPLETED)
    assert cache.get("a") is None
    assert cache.get("b") is None


def test_clear_drops_everything(cache: TaskCache) -> None:
    put(cache, waiting(5), [5])
    cache.clear()
    assert cache.get("a") is None
    put(cache, waiting(5))
    assert cache.get("a") is None, "nor is the queue kept"


def test_a_full_cache_begins_anew(cache: TaskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TASKS", 3)
    for name in "abc":
        put(cache, running(name))
    assert all(cache.get(name) for name in "abc")
    put(cache, running("d"))
    assert [name for name in "abcd" if cache.get(name)] == ["d"]


def test_readers_and_writers_in_any_order_never_see_the_past() -> None:
    """A reader takes a generation, reads, and puts some steps later; meanwhile others write."""
    drawn = random.Random(1)
    cache, truth = TaskCache(), {name: running(name) for name in "abc"}
    reading: list[tuple[int, Task]] = []
    hits = 0
    for _ in range(5000):
        name = drawn.choice("abc")
        step = drawn.random()
        if step < 0.2:
            old = truth[name].render
            status = drawn.choice([TaskStatus.PROCESSING, TaskStatus.COMPLETED])
            truth[name] = make_task(name, render=make_render(name, number=1, status=status, step=old.step + 1))
            cache.invalidate(name, status)
        elif step < 0.5:
            reading.append((cache.generation(), truth[name]))
        elif reading:
            generation, task = reading.pop(drawn.randrange(len(reading)))
            cache.put(task, None, generation)
        for one, task in truth.items():
            if found := cache.get(one):
                hits += 1
                assert found.task == task
    assert hits > 1000
