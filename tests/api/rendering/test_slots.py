"""What every slot does for the dispatcher: those with engine processes, and those of the tests."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api.rendering.local import EnginePool, LocalSlots
from api.rendering.slots import EngineLost, Loss, NoRoom, RenderRefused, Slot, SlotJob, SlotPool
from api.storage.local import LocalFiles
from dice_talk.engine import Progress
from dice_talk.error_codes import ErrorCode
from dice_talk.labels import UNNAMED
from dice_talk.options import RenderOptions
from tests.api.made import has_output, upload
from tests.api.rendering.memory import MemorySlot, MemorySlots


def local(kind: str) -> SlotPool:
    command = [sys.executable, "-m", "tests.fake_worker", kind, "/nonexistent"]
    return LocalSlots(1, EnginePool(lambda engine: command, load_seconds=30, stall_seconds=30))


def memory(kind: str) -> SlotPool:
    return MemorySlots(MemorySlot(gated=kind == "gated"))


@pytest.fixture
def job(files: LocalFiles, portrait: Path, speech: Path) -> SlotJob:
    options = RenderOptions(emotion="happy", duration=0.2, seed=1)
    upload(files, "a", portrait.read_bytes(), speech.read_bytes())
    return SlotJob("lite", options, UNNAMED, files, files.begin("a"))


@pytest.mark.parametrize("make", [local, memory])
def test_a_slot_renders_to_the_attempts_output(make: Callable[[str], SlotPool], job: SlotJob) -> None:
    told: list[Progress] = []

    async def note(progress: Progress) -> None:
        told.append(progress)

    async def scenario() -> None:
        pool = make("quick")
        (slot,) = pool.slots
        assert slot.name == "slot 1"
        assert slot.location in ("local", "memory")
        assert slot.engine is None
        assert (slot.busy, slot.broken, slot.ready("lite")) == (False, None, False)
        for _ in range(2):
            await slot.warm_up("lite")
            assert slot.ready("lite")
        assert str(slot.engine) == "lite"
        assert slot.device in ("cpu", "none")
        async with slot.reserve("lite", alone=True):
            result = await slot.render(job, note)
        assert result.frames > 0
        assert not slot.busy
        await pool.close()

    asyncio.run(scenario())
    assert has_output(job.files, job.attempt)
    assert told
    assert all(0 <= progress.fraction <= 1 for progress in told)


@pytest.mark.parametrize("make", [local, memory])
def test_cancelling_stops_the_render_and_frees_the_slot(make: Callable[[str], SlotPool], job: SlotJob) -> None:
    async def scenario() -> None:
        pool = make("gated")
        slot: Slot = pool.slots[0]
        begun = asyncio.Event()

        async def note(progress: Progress) -> None:
            begun.set()

        rendering = asyncio.create_task(slot.render(job, note))
        await asyncio.wait_for(begun.wait(), 60)
        assert slot.busy
        rendering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rendering
        assert not slot.busy
        await pool.close()

    asyncio.run(scenario())


def test_reasons_for_the_end_of_an_attempt() -> None:
    assert (EngineLost("it broke").loss, EngineLost("it broke", Loss.SILENCE).loss) == (Loss.CRASH, Loss.SILENCE)
    assert str(NoRoom()) == "the server's disk is full or cannot be written to"
    refused = RenderRefused(ErrorCode.NO_FACE, "No face was found", "Send another picture.")
    assert (str(refused), refused.detail) == ("No face was found", "Send another picture.")
