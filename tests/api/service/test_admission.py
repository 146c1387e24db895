"""Which requests become tasks. Many at the same moment: tests/features/test_many_at_once.py."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.exceptions import RequestValidationError

from api import processes
from api.caller import caller
from api.errors import Conflict, InvalidValue, QueueFull, TaskNotFound, TooManyRequests, Unavailable
from api.inspection.intake import Inputs
from api.schemas.options import TaskOptions
from api.schemas.tasks import TaskCreated
from api.service.admission import RETRY_LATER
from api.settings import Settings
from api.storage.files import Problem
from api.storage.local import LocalFiles
from api.tasks.model import Render, Task, TaskStatus
from api.tasks.store import Places, StoreFailure, TaskStore
from api.threads import entered
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError, EngineUnavailable
from dice_talk.labels import LabelOptions
from dice_talk.options import RenderOptions
from tests.api.made import NOW, inputs_of, make_render, make_task, staged, upload
from tests.api.parts import Parts, make_parts

SEEDED = TaskOptions(emotion="sad", seed=7, duration=0.5)
Start = Callable[..., Awaitable[TaskCreated]]


@pytest.fixture
def start(parts: Parts, portrait: Path, speech: Path) -> Start:
    """Submits the example files: start(options, owner, idempotency_key, image=...)."""

    async def submit(options: TaskOptions = SEEDED, *arguments: Any, image: bytes | None = None) -> TaskCreated:
        data = image or portrait.read_bytes()
        async with entered(staged(parts.files, data, speech.read_bytes())) as upload:
            return await parts.admission.start(upload, options, *arguments or (None,))

    return submit


def with_children(parts: Parts, scenario: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        try:
            await scenario()
        finally:
            await parts.children.close()
            await processes.wait_for_starts()

    asyncio.run(whole())


def left(parts: Parts) -> list[str]:
    return [path.name for path in (parts.settings.data_dir / "incoming").glob("*")]


def test_a_request_becomes_a_task_with_its_files(parts: Parts, start: Start, portrait: Path, speech: Path) -> None:
    async def scenario() -> None:
        made = await start()
        assert (made.status, made.message, made.warnings) == ("PENDING", "Task created successfully", [])
        task = parts.task(made.task_id)
        assert (task.render.id, task.created_at, task.owner) == (made.task_id, NOW, None)
        assert (task.render.engine, task.render.seconds, task.render.pixels) == ("lite", 0.5, 256 * 256)
        assert task.render.options.seed == 7
        assert parts.dispatcher.waiting == 1
        assert inputs_of(parts.files, made.task_id) == (portrait.read_bytes(), speech.read_bytes())

    with_children(parts, scenario)
    assert left(parts) == []


def test_equal_requests_share_a_render_as_long_as_its_video_is_there(parts: Parts, start: Start) -> None:
    async def scenario() -> None:
        first, second = await start(), await start(SEEDED, "alice")
        assert parts.task(second.task_id).render.id == first.task_id
        other = await start(SEEDED.model_copy(update={"fps": 25}))
        assert parts.task(other.task_id).render.id == other.task_id
        parts.finish(first.task_id)
        assert (await start()).status == "COMPLETED"
        parts.files.drop_video(first.task_id)
        again = await start()
        assert (again.status, parts.task(again.task_id).render.id) == ("PENDING", again.task_id)

    with_children(parts, scenario)
    assert left(parts) == []


def test_without_a_seed_one_is_drawn_and_nothing_shared(parts: Parts, start: Start) -> None:
    async def scenario() -> None:
        options = SEEDED.model_copy(update={"seed": None})
        renders = [parts.task((await start(options)).task_id).render for _ in range(2)]
        assert renders[0].id != renders[1].id
        assert renders[0].options.seed != renders[1].options.seed
        assert [render.cache_key for render in renders] == [None, None]

    with_children(parts, scenario)


def test_a_repeated_request_gives_its_task_again(parts: Parts, start: Start) -> None:
    async def scenario() -> None:
        first = await start(SEEDED, None, "order 17")
        assert (await start(SEEDED, None, "order 17")).task_id == first.task_id
        with pytest.raises(Conflict, match="The Idempotency-Key was used for another request"):
            await start(SEEDED.model_copy(update={"fps": 25}), None, "order 17")
        with pytest.raises(Conflict):
            await start(SEEDED, None, "order 17", image=b"another")
        assert (await start(SEEDED, "alice", "order 17")).task_id != first.task_id

    with_children(parts, scenario)
    assert left(parts) == []


def test_what_cannot_be_stored_leaves_no_files(parts: Parts, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(task: Task, places: Places) -> None:
        raise sa.exc.OperationalError("SQL", {}, Exception("disk I/O error"))

    monkeypatch.setattr(parts.store, "add", fail)

    async def scenario() -> None:
        with pytest.raises(StoreFailure):
            await start()

    with_children(parts, scenario)
    assert list((parts.settings.data_dir / "tasks").iterdir()) == []
    assert (left(parts), parts.dispatcher.waiting) == ([], 0)


def test_a_client_that_goes_while_its_task_is_stored(
    parts: Parts, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and row come together, or not at all."""
    begun, go_on, add = threading.Event(), threading.Event(), parts.store.add

    def slow(task: Task, places: Places) -> Render:
        begun.set()
        assert go_on.wait(20)
        return add(task, places)

    monkeypatch.setattr(parts.store, "add", slow)

    async def scenario() -> None:
        asking = asyncio.ensure_future(start())
        await asyncio.to_thread(begun.wait, 20)
        asking.cancel()
        await asyncio.sleep(0.02)
        assert not asking.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await asking

    with_children(parts, scenario)
    (render_id,) = parts.store.render_ids()
    assert all(inputs_of(parts.files, render_id))
    assert parts.dispatcher.waiting == 1


def test_a_file_that_cannot_be_used_is_refused(parts: Parts, start: Start) -> None:
    async def scenario() -> None:
        with pytest.raises(DiceTalkError, match="Invalid image file type"):
            await start(SEEDED, image=b"no picture")

    with_children(parts, scenario)
    assert (parts.store.render_ids(), left(parts)) == (set(), [])


def test_a_retry_takes_the_same_files_with_other_options(parts: Parts, portrait: Path, speech: Path) -> None:
    upload(parts.files, "a", portrait.read_bytes(), speech.read_bytes())
    parts.store.add(make_task(render=make_render(cache_key="key")))

    async def scenario() -> None:
        made = await parts.admission.retry("a", None, {"fps": 30})
        render = parts.task(made.task_id).render
        assert (render.options.fps, render.options.seed, render.options.emotion) == (30, 5, "sad")
        assert inputs_of(parts.files, render.id)[0] == portrait.read_bytes()
        with pytest.raises(TaskNotFound):
            await parts.admission.retry("a", "alice", {})
        with pytest.raises(RequestValidationError):
            await parts.admission.retry("a", None, {"colour": "red"})
        parts.files.remove("a")
        with pytest.raises(TaskNotFound):
            await parts.admission.retry("a", None, {})

    with_children(parts, scenario)
    assert left(parts) == []


def test_a_retry_with_an_engine_that_was_uninstalled_says_so(parts: Parts, portrait: Path, speech: Path) -> None:
    upload(parts.files, "a", portrait.read_bytes(), speech.read_bytes())
    parts.store.add(make_task(render=make_render(engine="gone")))

    async def scenario() -> None:
        with pytest.raises(EngineUnavailable, match="'gone' is not available") as refused:
            await parts.admission.retry("a", None, {})
        assert "the package that provides the gone engine" in str(refused.value.detail)
        made = await parts.admission.retry("a", None, {"engine": "lite"})
        assert parts.task(made.task_id).render.engine == "lite"

    with_children(parts, scenario)


def test_nothing_is_taken_at_the_end_or_without_room(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.admission.refuse_when_closed()
    monkeypatch.setattr(parts.files, "problem", lambda: Problem("The storage is away", ErrorCode.STORAGE_UNAVAILABLE))
    with pytest.raises(Unavailable, match="The storage is away") as refused:
        parts.admission.refuse_when_closed()
    assert refused.value.code is ErrorCode.STORAGE_UNAVAILABLE
    parts.admission.closed = True
    with pytest.raises(Unavailable, match="The server is shutting down"):
        parts.admission.refuse_when_closed()


@pytest.mark.parametrize(("waiting", "refused"), [(1, False), (2, True)])
def test_as_many_as_may_wait(
    settings: Settings, store: TaskStore, files: LocalFiles, waiting: int, refused: bool
) -> None:
    parts = make_parts(settings.model_copy(update={"queue_size": 2}), store, files)
    for number in range(waiting):
        parts.wait(str(number))
    if refused:
        with pytest.raises(QueueFull, match="Too many tasks are waiting") as error:
            parts.admission.refuse_when_full()
        assert (error.value.detail, error.value.headers) == ("At most 2 may wait. Try again later.", RETRY_LATER)
    else:
        parts.admission.refuse_when_full()


def test_as_many_of_one_key_as_may_wait(settings: Settings, store: TaskStore, files: LocalFiles) -> None:
    parts = make_parts(settings.model_copy(update={"key_queue_size": 2}), store, files)
    parts.wait("a", owner="alice")
    parts.admission.refuse_when_owner_waits("alice")
    parts.wait("b", owner="alice")
    with pytest.raises(TooManyRequests, match="Too many of your tasks are waiting"):
        parts.admission.refuse_when_owner_waits("alice")
    for owner in ("bob", None):
        parts.admission.refuse_when_owner_waits(owner)
    parts.store.update("a", TaskStatus.PROCESSING)
    parts.admission.refuse_when_owner_waits("alice")


def test_who_waits_enough_may_share_what_does_not_wait(settings: Settings, store: TaskStore, files: LocalFiles) -> None:
    parts = make_parts(settings.model_copy(update={"key_queue_size": 1, "queue_size": 2}), store, files)
    parts.wait("a", owner="alice")
    parts.wait("b", owner="bob", cache_key="key")
    find = parts.admission._find_place
    with pytest.raises(TooManyRequests):
        asyncio.run(find("key", "alice"))
    shared = asyncio.run(find("key", "carol"))
    assert shared and shared.id == "b", "a full queue is no matter to who needs no place"
    with pytest.raises(QueueFull):
        asyncio.run(find("other", "carol"))
    store.update("b", TaskStatus.PROCESSING)
    shared = asyncio.run(find("key", "alice"))
    assert shared and shared.id == "b"


def test_before_an_upload_only_what_needs_a_place_anyhow_is_refused(
    settings: Settings, store: TaskStore, files: LocalFiles
) -> None:
    parts = make_parts(settings.model_copy(update={"queue_size": 1}), store, files)
    ask = parts.admission.refuse_before_upload
    asyncio.run(ask(None, None))
    parts.wait("a")
    store.join(make_task("b", render=parts.task("a").render, idempotency_key="mine", request_hash="x"))
    with pytest.raises(QueueFull):
        asyncio.run(ask(None, None))
    asyncio.run(ask(None, "mine"))
    for owner, key in ((None, "another"), ("alice", "mine")):
        with pytest.raises(QueueFull):
            asyncio.run(ask(owner, key))
    store.add(make_task("seeded", render=make_render("seeded", cache_key="key")))
    asyncio.run(ask(None, None))


def test_uploads_at_the_same_time(settings: Settings, store: TaskStore, files: LocalFiles) -> None:
    admission = make_parts(settings.model_copy(update={"uploads": 4}), store, files).admission

    @asynccontextmanager
    async def uploading(client: str) -> AsyncIterator[None]:
        caller.set(client)
        async with admission.uploading():
            yield

    async def scenario() -> None:
        async with uploading("alice"), uploading("alice"), uploading("alice"):
            with pytest.raises(QueueFull, match="Too many of your uploads at the same time") as refused:
                async with uploading("alice"):
                    pass
            assert refused.value.detail == "One client may have at most 3 at once."
            async with uploading("bob"):
                assert admission.uploads == 4
                with pytest.raises(QueueFull, match="Too many uploads at the same time"):
                    async with uploading("carol"):
                        pass
            assert admission.uploads == 3
        with pytest.raises(ZeroDivisionError):
            async with uploading("alice"):
                raise ZeroDivisionError
        assert admission.uploads == 0
        assert not admission._uploads_by_client

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("shown", "optional", "wanted", "drawn"),
    [
        ("off", False, True, "off"),
        ("off", False, False, "off"),
        ("always", False, True, "always"),
        ("always", False, False, None),
        ("always", True, True, "always"),
        ("always", True, False, "off"),
    ],
)
def test_who_may_do_without_the_visible_label(
    settings: Settings,
    store: TaskStore,
    files: LocalFiles,
    shown: str,
    optional: bool,
    wanted: bool,
    drawn: str | None,
) -> None:
    changes = {"visible_label": shown, "visible_label_optional": optional}
    admission = make_parts(settings.model_copy(update=changes), store, files).admission
    wish = TaskOptions(emotion="sad", visible_label=wanted)
    if drawn is None:
        with pytest.raises(InvalidValue, match="no video without its visible label"):
            admission._labels(wish)
    else:
        assert admission._labels(wish).visible_label == drawn


def test_how_large_and_how_long_a_video_will_be(parts: Parts) -> None:
    inputs = Inputs(640, 480, 8.0)
    for options, seconds, pixels in (
        ({}, 8.0, 320 * 256),
        ({"duration": 5.0}, 5.0, 320 * 256),
        ({"duration": 300.0}, 8.0, 320 * 256),
        ({"crop": True}, 8.0, 256 * 256),
        ({"min_resolution": 512}, 8.0, 704 * 512),
    ):
        wanted = RenderOptions(emotion="sad", seed=1, **options)
        render = parts.admission._plan(wanted, None, "lite", inputs, LabelOptions())
        assert (render.seconds, render.pixels) == (seconds, pixels), options
