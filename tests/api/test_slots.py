"""Slots with real processes that behave, refuse, raise, hang, exit and get killed."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from api.slots import EngineLost, Slot, TaskFailed
from dice_talk.engine import Progress, RenderJob
from dice_talk.options import RenderOptions
from dice_talk.video import probe


def make_slot(kind: str, gate: Path = Path("/nonexistent"), stall_seconds: float = 30) -> Slot:
    command = [sys.executable, "-m", "tests.fake_worker", kind, str(gate)]
    return Slot(1, lambda engine: command, load_seconds=30, stall_seconds=stall_seconds)


@pytest.fixture
def job(tmp_path: Path, portrait: Path, speech: Path) -> RenderJob:
    options = RenderOptions(emotion="happy", duration=0.5, seed=1)
    return RenderJob(portrait, speech, tmp_path / "result.part", options)


async def ignore(progress: Progress) -> None:
    pass


async def run_once(slot: Slot, job: RenderJob) -> None:
    try:
        await slot.run("fake", job, ignore)
    finally:
        await slot.close()


def test_renders_and_reports_progress(job: RenderJob) -> None:
    seen: list[float] = []

    async def note(progress: Progress) -> None:
        seen.append(progress.fraction)

    async def scenario() -> None:
        slot = make_slot("quick")
        result = await slot.run("fake", job, note)
        assert (result.width, result.fps, result.frames) == (128, 24, 12)
        assert probe(job.output).frames == 12
        assert seen == [0.1, 0.5]
        pids = slot.pids()
        await slot.run("fake", job, note)
        assert slot.pids() == pids, "a healthy process is kept"
        await slot.close()
        assert slot.pids() == []

    asyncio.run(scenario())


def test_refusal_is_told_and_keeps_the_process(job: RenderJob) -> None:
    async def scenario() -> None:
        slot = make_slot("refuses")
        with pytest.raises(TaskFailed, match="No face was found") as caught:
            await slot.run("fake", job, ignore)
        assert caught.value.detail == "Send a clear portrait."
        assert len(slot.pids()) == 1
        await slot.close()

    asyncio.run(scenario())
    assert not job.output.exists()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("raises", "ZeroDivisionError"),
        ("memory", "MemoryError"),
        ("exits", "exited with code 3"),
        ("segfaults", "killed by SIGSEGV"),
        ("unloadable", "exited with code 7"),
    ],
)
def test_crash_is_named(kind: str, words: str, job: RenderJob) -> None:
    with pytest.raises(EngineLost, match=words) as caught:
        asyncio.run(run_once(make_slot(kind), job))
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_what_was_promised_is_a_failure(job: RenderJob) -> None:
    with pytest.raises(TaskFailed, match="not what was promised"):
        asyncio.run(run_once(make_slot("lies"), job))
    assert not job.output.exists()


def test_hang_is_ended(job: RenderJob) -> None:
    with pytest.raises(EngineLost, match=r"said nothing for 0\.5 seconds"):
        asyncio.run(run_once(make_slot("hangs", stall_seconds=0.5), job))


def test_kill_is_noticed_and_the_slot_works_again(job: RenderJob, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def scenario() -> None:
        slot = make_slot("gated", gate)
        running = asyncio.create_task(slot.run("fake", job, ignore))
        while not job.output.exists():
            await asyncio.sleep(0.02)
        assert slot.busy
        os.kill(slot.pids()[0], signal.SIGKILL)
        with pytest.raises(EngineLost, match="killed by SIGKILL"):
            await running
        assert not slot.busy
        gate.touch()
        assert (await slot.run("fake", job, ignore)).frames == 12
        await slot.close()

    asyncio.run(scenario())


def test_calling_off_a_render_ends_its_process(job: RenderJob) -> None:
    async def scenario() -> None:
        slot = make_slot("gated")
        running = asyncio.create_task(slot.run("fake", job, ignore))
        while not job.output.exists():
            await asyncio.sleep(0.02)
        pid = slot.pids()[0]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    asyncio.run(scenario())


def test_engine_process_ends_with_the_service(job: RenderJob) -> None:
    """Its input ends when the service is gone, however that happened; a hanging render must not outlive it."""

    async def scenario() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.fake_worker",
            "hangs",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin and process.stdout
        assert b"ready" in await process.stdout.readline()
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0

    asyncio.run(scenario())
