"""Slots with real processes that behave, refuse, raise, hang, exit and get killed."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from api.rendering.local import EnginePool, LocalSlot, LocalSlots, SharedExclusiveLock
from api.rendering.slots import EngineLost, NoRoom, RenderRefused, SlotJob
from api.storage.local import LocalFiles
from dice_talk.engine import Progress
from dice_talk.labels import UNNAMED
from dice_talk.options import RenderOptions
from dice_talk.video import probe
from tests.api.made import upload

ENGINE = "lite"  # by name only: the processes are fake_worker's


def make_pool(kind: str, gate: Path = Path("/nonexistent"), stall_seconds: float = 30) -> EnginePool:
    command = [sys.executable, "-m", "tests.fake_worker", kind, str(gate)]
    return EnginePool(lambda engine: command, load_seconds=30, stall_seconds=stall_seconds)


@pytest.fixture
def job(files: LocalFiles, portrait: Path, speech: Path) -> SlotJob:
    return make_job(files, "a", portrait, speech)


def make_job(files: LocalFiles, render_id: str, portrait: Path, speech: Path) -> SlotJob:
    options = RenderOptions(emotion="happy", duration=0.5, seed=1)
    upload(files, render_id, portrait.read_bytes(), speech.read_bytes())
    return SlotJob(ENGINE, options, UNNAMED, files, files.begin(render_id))


def output(job: SlotJob) -> Path:
    """The path that an engine writes to."""
    with job.files.workspace(job.attempt) as workspace:
        return workspace.output


def first_slot(pool: EnginePool) -> LocalSlot:
    return LocalSlots(1, pool).slots[0]


async def ignore(progress: Progress) -> None:
    pass


async def run_once(pool: EnginePool, job: SlotJob) -> None:
    try:
        await first_slot(pool).render(job, ignore)
    finally:
        await pool.close()


async def file_appears(path: Path) -> None:
    while not path.exists():
        await asyncio.sleep(0.02)


def test_renders_and_reports_progress(job: SlotJob) -> None:
    seen: list[float] = []

    async def note(progress: Progress) -> None:
        seen.append(progress.fraction)

    async def scenario() -> None:
        pool = make_pool("quick")
        slot = first_slot(pool)
        result = await slot.render(job, note)
        assert (result.width, result.fps, result.frames) == (128, 24, 12)
        assert probe(output(job)).frames == 12
        assert seen == [0.1, 0.5]
        pids = pool.pids()
        await slot.render(job, note)
        assert pool.pids() == pids, "a healthy process is kept"
        assert pool.ready(ENGINE)
        await pool.close()
        assert not pool.ready(ENGINE)

    asyncio.run(scenario())


def test_refusal_is_told_and_keeps_the_process(job: SlotJob) -> None:
    async def scenario() -> None:
        pool = make_pool("refuses")
        with pytest.raises(RenderRefused, match="No face was found") as caught:
            await first_slot(pool).render(job, ignore)
        assert caught.value.detail == "Send a clear portrait."
        assert len(pool.pids()) == 1
        await pool.close()

    asyncio.run(scenario())
    assert not output(job).exists()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("raises", "ZeroDivisionError"),
        ("memory", "MemoryError"),
        ("exits", "exited with code 1"),
        ("segfaults", "killed by SIGSEGV"),
        ("unloadable", "exited with code 7"),
    ],
)
def test_crash_is_named(kind: str, words: str, job: SlotJob) -> None:
    with pytest.raises(EngineLost, match=words) as caught:
        asyncio.run(run_once(make_pool(kind), job))
    assert "secret" not in str(caught.value)


def test_a_full_disk_is_told_as_such(job: SlotJob) -> None:
    with pytest.raises(NoRoom):
        asyncio.run(run_once(make_pool("full"), job))


def test_a_crash_leaves_its_words_in_the_log(job: SlotJob, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(EngineLost):
        asyncio.run(run_once(make_pool("raises"), job))
    assert "ZeroDivisionError: secret of the server" in caplog.text


def test_a_file_that_is_not_what_was_promised_is_a_failure(job: SlotJob) -> None:
    with pytest.raises(RenderRefused, match="not what was promised"):
        asyncio.run(run_once(make_pool("lies"), job))
    assert not output(job).exists()


def test_kill_is_noticed_and_the_slot_works_again(job: SlotJob, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def scenario() -> None:
        pool = make_pool("gated", gate)
        slot = first_slot(pool)
        running = asyncio.create_task(slot.render(job, ignore))
        await file_appears(output(job))
        assert slot.busy
        os.kill(pool.pids()[0], signal.SIGKILL)
        with pytest.raises(EngineLost, match="killed by SIGKILL"):
            await running
        assert not slot.busy
        gate.touch()
        assert (await slot.render(job, ignore)).frames == 12
        await pool.close()

    asyncio.run(scenario())


def test_calling_off_a_render_stops_it_and_keeps_the_process(job: SlotJob) -> None:
    async def scenario() -> None:
        pool = make_pool("gated")
        running = asyncio.create_task(first_slot(pool).render(job, ignore))
        await file_appears(output(job))
        pids = pool.pids()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not output(job).exists()
        assert pool.pids() == pids
        await pool.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pids[0], 0)

    asyncio.run(scenario())


@pytest.mark.parametrize(("engine", "processes"), [("lite", 2), ("diffusion", 1)])
def test_slots_share_a_process_where_the_weights_are_to_be_held_once(
    files: LocalFiles, portrait: Path, speech: Path, tmp_path: Path, engine: str, processes: int
) -> None:
    gate = tmp_path / "gate"
    job, other = (replace(make_job(files, name, portrait, speech), engine=engine) for name in "ab")

    async def scenario() -> None:
        pool = make_pool("gated", gate)
        slots = LocalSlots(2, pool).slots
        renders = [
            asyncio.create_task(slot.render(each, ignore)) for slot, each in zip(slots, (job, other), strict=True)
        ]
        await file_appears(output(job))
        await file_appears(output(other))
        assert len(pool.pids()) == processes
        renders[0].cancel()
        gate.touch()
        assert (await renders[1]).frames == 12, "calling one off leaves the other alone"
        await pool.close()

    asyncio.run(scenario())


def test_engine_process_ends_with_the_service() -> None:
    """Its input ends when the service is gone, however that happened; a hanging render must not outlive it."""

    async def scenario() -> None:
        command = [sys.executable, "-m", "tests.fake_worker", "hangs"]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        assert process.stdin
        assert process.stdout
        assert b"ready" in await process.stdout.readline()
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0

    asyncio.run(scenario())


class Room:
    """Who is in a lock, and who wants to be."""

    def __init__(self) -> None:
        self.lock = SharedExclusiveLock()
        self.inside: list[str] = []
        self.leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str) -> None:
        """Upper case: exclusively."""
        self.leave[name] = asyncio.Event()

        async def stay() -> None:
            async with self.lock.hold(exclusive=name.isupper()):
                self.inside.append(name)
                try:
                    await self.leave[name].wait()
                finally:
                    self.inside.remove(name)

        self.tasks[name] = asyncio.create_task(stay())
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def let_go(self, name: str) -> None:
        self.leave[name].set()
        await self.settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        await self.settle()


def in_room(*steps: tuple[str, str, list[str]]) -> None:
    """Each step: what is done, by whom, and who is inside then."""

    async def scenario() -> None:
        room = Room()
        for number, (call, name, inside) in enumerate(steps):
            await getattr(room, call)(name)
            assert sorted(room.inside) == sorted(inside), f"step {number}"
        for task in room.tasks.values():
            task.cancel()

    asyncio.run(scenario())


def test_any_number_share_the_lock() -> None:
    in_room(("ask", "a", ["a"]), ("ask", "b", ["a", "b"]), ("let_go", "a", ["b"]), ("ask", "c", ["b", "c"]))


def test_one_holds_it_alone() -> None:
    in_room(
        ("ask", "A", ["A"]),
        ("ask", "b", ["A"]),
        ("ask", "C", ["A"]),
        ("let_go", "A", ["C"]),
        ("let_go", "C", ["b"]),
        ("ask", "d", ["b", "d"]),
    )


def test_who_wants_it_alone_goes_first() -> None:
    in_room(
        ("ask", "a", ["a"]),
        ("ask", "B", ["a"]),
        ("ask", "c", ["a"]),
        ("let_go", "a", ["B"]),
        ("ask", "d", ["B"]),
        ("let_go", "B", ["c", "d"]),
    )


def test_who_gives_up_waiting_is_in_nobodys_way() -> None:
    in_room(
        ("ask", "a", ["a"]),
        ("ask", "B", ["a"]),
        ("ask", "c", ["a"]),
        ("cancel", "B", ["a", "c"]),
        ("cancel", "a", ["c"]),
        ("ask", "D", ["c"]),
        ("let_go", "c", ["D"]),
        ("cancel", "D", []),
        ("ask", "e", ["e"]),
    )


def test_an_error_inside_frees_the_lock() -> None:
    async def scenario() -> None:
        lock = SharedExclusiveLock()
        for exclusive in (True, False, True):
            with pytest.raises(ZeroDivisionError):
                async with lock.hold(exclusive=exclusive):
                    raise ZeroDivisionError

    asyncio.run(scenario())


@pytest.mark.parametrize(("engine", "waits"), [("diffusion", True), ("lite", False)])
def test_a_render_alone_keeps_others_out_where_the_process_is_shared(engine: str, waits: bool) -> None:
    async def scenario() -> None:
        first, second = LocalSlots(2, make_pool("quick")).slots
        async with first.reserve(engine, alone=True):
            entering = asyncio.ensure_future(second.reserve(engine, alone=False).__aenter__())
            await asyncio.sleep(0.02)
            assert entering.done() != waits
        await asyncio.wait_for(entering, 1)

    asyncio.run(scenario())


def test_slots_have_names_and_numbers() -> None:
    slots = LocalSlots(3, make_pool("quick")).slots
    assert [slot.name for slot in slots] == ["slot 1", "slot 2", "slot 3"]
    assert {slot.location for slot in slots} == {"local"}


@pytest.mark.parametrize(
    ("gpu", "engine", "device"), [(True, "diffusion", "gpu"), (True, "lite", "cpu"), (False, "diffusion", "cpu")]
)
def test_a_slot_says_what_it_computes_on(gpu: bool, engine: str, device: str) -> None:
    async def scenario() -> None:
        pool = make_pool("quick")
        (slot,) = LocalSlots(1, pool, gpu=gpu).slots
        await slot.warm_up(engine)
        assert (slot.engine, slot.device) == (engine, device)
        await pool.close()

    asyncio.run(scenario())


def test_a_slot_remembers_why_its_engine_did_not_start() -> None:
    async def scenario() -> None:
        command = ["/no/such/program"]
        pool = EnginePool(lambda engine: command, load_seconds=5, stall_seconds=5)
        slot = first_slot(pool)
        with pytest.raises(EngineLost):
            await slot.warm_up(ENGINE)
        assert slot.broken == "the engine process could not be started: No such file or directory"
        command[:] = ["sh", "-c", """echo '{"job": 0, "event": "ready"}'; read -r line"""]
        await slot.warm_up(ENGINE)
        assert slot.broken is None
        assert slot.ready(ENGINE)
        await pool.close()
        assert not slot.ready(ENGINE)

    asyncio.run(scenario())
