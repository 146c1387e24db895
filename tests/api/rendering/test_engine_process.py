"""One engine process, as a shell script that says what the protocol allows, and what it does not."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from api.rendering.engine_process import EngineProcess
from api.rendering.slots import EngineLost, Loss, NoRoom, RenderRefused
from dice_talk.engine import Progress, RenderJob, RenderResult
from dice_talk.error_codes import ErrorCode
from dice_talk.options import RenderOptions

RESULT: dict[str, Any] = {"width": 2, "height": 2, "fps": 24, "frames": 24, "seconds": 1.0, "versions": {}}
PROGRESS: dict[str, Any] = {"stage": "render", "message": "Generating video...", "fraction": 0.5, "step": 1, "steps": 2}
JOB = RenderJob(Path("image"), Path("audio"), Path("output"), RenderOptions(emotion="sad", seed=1))


def say(event: str, job: int = 0, **fields: Any) -> str:
    """A line of a script."""
    return f"echo '{json.dumps({'job': job, 'event': event, **fields})}'"


READY, DONE = say("ready"), say("done", 1, **RESULT)
HEAR = "read -r line"


def run(
    scenario: Callable[[EngineProcess], Awaitable[None]],
    *script: str,
    load_seconds: float = 10,
    stall_seconds: float = 10,
) -> None:
    async def whole() -> None:
        command = ["sh", "-c", "\n".join(script)]
        engine = await EngineProcess.start(command, "lite", load_seconds=load_seconds, stall_seconds=stall_seconds)
        try:
            await scenario(engine)
        finally:
            await engine.stop()
        assert not engine.alive

    asyncio.run(whole())


def rendering(*script: str, stall_seconds: float = 10) -> tuple[RenderResult, list[Progress]]:
    """What an engine that runs that script gives for one job, and what it tells meanwhile."""
    results, told = [], []

    async def scenario(engine: EngineProcess) -> None:
        async def note(progress: Progress) -> None:
            told.append(progress)

        results.append(await engine.render(JOB, note))

    run(scenario, READY, *script, stall_seconds=stall_seconds)
    return results[0], told


async def ignore(progress: Progress) -> None:
    pass


async def nothing(engine: EngineProcess) -> None:
    assert engine.alive
    assert engine.pid > 0


def test_a_job_with_progress() -> None:
    result, told = rendering(HEAR, say("progress", 1, **PROGRESS), DONE, HEAR)
    assert result == RenderResult(**RESULT)
    assert told == [Progress(**PROGRESS)]


def test_what_is_sent_is_the_job() -> None:
    """The script sends it back as the text of an error."""
    with pytest.raises(RenderRefused) as refused:
        rendering(
            HEAR,
            r"""case $line in *'"job": 1, "render"'*'"image": "image"'*'"seed": 1'*) ok=yes;; esac""",
            r"""rest='"detail": null, "code": "no_face", "params": {}'""",
            r"""echo "{\"job\": 1, \"event\": \"failed\", \"error\": \"$ok\", $rest}" """,
            HEAR,
        )
    assert (str(refused.value), refused.value.detail) == ("yes", None)


def test_two_jobs_at_once_get_what_is_theirs() -> None:
    async def scenario(engine: EngineProcess) -> None:
        jobs = [asyncio.create_task(engine.render(JOB, ignore)) for _ in range(2)]
        first, second = await asyncio.gather(*jobs)
        assert (first.frames, second.frames) == (1, 2)

    answers = (say("done", job, **{**RESULT, "frames": job}) for job in (2, 1))
    run(scenario, READY, HEAR, HEAR, *answers, HEAR)


def test_events_of_a_job_that_is_over_are_passed_over() -> None:
    result, _ = rendering(HEAR, say("progress", 7, **PROGRESS), say("cancelled", 7), DONE, HEAR)
    assert result.frames == 24


def test_a_refusal_with_advice() -> None:
    with pytest.raises(RenderRefused, match="No face was found") as refused:
        rendering(
            HEAR,
            say("failed", 1, error="No face was found", detail="Send another picture.", code="no_face", params={}),
            HEAR,
        )
    assert refused.value.detail == "Send another picture."


def test_no_room() -> None:
    with pytest.raises(NoRoom):
        rendering(HEAR, say("no_room", 1), HEAR)


@pytest.mark.parametrize(("memory", "loss"), [(True, Loss.MEMORY), (False, Loss.CRASH)])
def test_a_crash_ends_the_process(memory: bool, loss: Loss, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(engine: EngineProcess) -> None:
        with pytest.raises(EngineLost, match="the engine raised ValueError") as lost:
            await engine.render(JOB, ignore)
        assert lost.value.loss is loss
        assert not engine.alive

    run(scenario, READY, HEAR, "echo last words >&2", say("crashed", 1, error="ValueError", memory=memory), HEAR)
    assert "lite: the engine raised ValueError; its last words:\nlast words" in caplog.text


def test_a_crash_leaves_the_process_to_others_who_render_there() -> None:
    async def scenario(engine: EngineProcess) -> None:
        lost, other = (asyncio.create_task(engine.render(JOB, ignore)) for _ in range(2))
        with pytest.raises(EngineLost):
            await lost
        assert engine.alive
        assert (await other).frames == 24

    script = (say("crashed", 1, error="ValueError", memory=False), "sleep 0.1", say("done", 2, **RESULT), HEAR)
    run(scenario, READY, HEAR, HEAR, *script)


@pytest.mark.parametrize(
    ("end", "words", "loss"),
    [
        ("exit 3", "exited with code 3", Loss.CRASH),
        ("kill -9 $$", "killed by SIGKILL", Loss.MEMORY),
        ("kill -11 $$", "killed by SIGSEGV", Loss.CRASH),
        ("exec >&-; sleep 600", "stopped talking", Loss.CRASH),
        ('echo \'{"job": 1, "event"\'; exec >&-; sleep 600', "stopped talking", Loss.CRASH),
        ("echo nonsense; sleep 600", "stopped talking", Loss.CRASH),
        ('echo \'{"event": "done"}\'; sleep 600', "stopped talking", Loss.CRASH),
        ("echo '[1]'; sleep 600", "stopped talking", Loss.CRASH),
        ('echo \'{"job": [], "event": "done"}\'; sleep 600', "stopped talking", Loss.CRASH),
        ("head -c 400000 /dev/zero; echo; sleep 600", "stopped talking", Loss.CRASH),
        ("head -c 400000 /dev/zero", "exited with code 0", Loss.CRASH),
    ],
)
def test_an_end_is_named(end: str, words: str, loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.rendering.engine_process.END_SECONDS", 0.1)
    with pytest.raises(EngineLost, match=words) as lost:
        rendering(HEAR, end)
    assert lost.value.loss is loss


def test_after_an_endless_line_the_slot_goes_on() -> None:
    """Nobody reads the rest of the line, and the process must end all the same."""
    with pytest.raises(EngineLost):
        rendering(HEAR, "head -c 9000000 /dev/zero", "sleep 600")


def test_a_grandchild_that_holds_the_pipes_does_not_hold_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a session of its own, as a daemon does, so that it is not killed with the engine."""
    monkeypatch.setattr("api.processes.PIPES_S", 0.1)
    monkeypatch.setattr("api.rendering.engine_process.END_SECONDS", 0.1)
    with pytest.raises(EngineLost, match="said nothing"):
        rendering(HEAR, "setsid sleep 5 &", "sleep 0.1; kill $$", stall_seconds=0.5)


def test_silence_is_ended() -> None:
    with pytest.raises(EngineLost, match=r"said nothing for 0\.1 seconds") as lost:
        rendering(HEAR, "sleep 600", stall_seconds=0.1)
    assert lost.value.loss is Loss.SILENCE


def test_progress_is_no_silence() -> None:
    steps = [f"sleep 0.1; {say('progress', 1, **PROGRESS)}"] * 12
    result, told = rendering(HEAR, *steps, DONE, HEAR, stall_seconds=1)
    assert result.frames == 24
    assert len(told) == 12


@pytest.mark.parametrize(
    ("script", "seconds", "words"),
    [
        ("exit 7", 20, "exited with code 7"),
        ("sleep 600", 0.1, r"said nothing for 0\.1 seconds"),
    ],
)
def test_an_engine_that_does_not_get_ready(script: str, seconds: float, words: str) -> None:
    with pytest.raises(EngineLost, match=words):
        run(nothing, script, load_seconds=seconds)


def test_an_engine_that_says_why_it_does_not_get_ready() -> None:
    with pytest.raises(RenderRefused, match="The weights are damaged"):
        run(
            nothing,
            say(
                "failed",
                error="The weights are damaged",
                detail="Download them again.",
                code="weights_damaged",
                params={},
            ),
        )


def test_cancelling_waits_for_the_engines_word_and_keeps_it() -> None:
    async def scenario(engine: EngineProcess) -> None:
        begun = asyncio.Event()

        async def note(progress: Progress) -> None:
            begun.set()

        job = asyncio.create_task(engine.render(JOB, note))
        await begun.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert engine.alive
        assert (await engine.render(JOB, ignore)).frames == 24

    told = say("progress", 1, **PROGRESS)
    check = """case $line in *'"cancel": true'*) ;; *) exit 9;; esac"""
    run(scenario, READY, HEAR, told, HEAR, check, told, say("cancelled", 1), HEAR, say("done", 2, **RESULT), HEAR)


def test_progress_that_cannot_be_noted_cancels_the_job() -> None:
    """The next attempt may come to the same process, which must not be busy with the first."""

    async def scenario(engine: EngineProcess) -> None:
        async def fail(progress: Progress) -> None:
            raise OverflowError("a number that the database cannot hold")

        with pytest.raises(EngineLost, match="cannot be used: OverflowError"):
            await engine.render(JOB, fail)
        assert engine.alive
        assert (await engine.render(JOB, ignore)).frames == 24

    told = say("progress", 1, **PROGRESS)
    check = """case $line in *'"cancel": true'*) ;; *) exit 9;; esac"""
    run(scenario, READY, HEAR, told, HEAR, check, told, say("cancelled", 1), HEAR, say("done", 2, **RESULT), HEAR)


@pytest.mark.parametrize(
    "message",
    [say("progress", 1, stage="render"), say("done", 1, width=2), say("crashed", 1), say("done", 1, more=1, **RESULT)],
)
def test_an_event_that_lacks_something_costs_the_attempt(message: str) -> None:
    with pytest.raises(EngineLost, match=r"cannot be used: (KeyError|TypeError)"):
        rendering(HEAR, message, HEAR, say("cancelled", 1), HEAR)


def test_odd_progress_is_cleaned() -> None:
    odd = {"stage": "s" * 99, "message": "half \ud800", "fraction": 7, "step": 10**30, "steps": None}
    _, told = rendering(HEAR, say("progress", 1, **odd), DONE, HEAR)
    assert told == [Progress("s" * 32, "half ?", 1.0, 2**31 - 1, 0)]


def test_a_code_that_is_not_for_tasks_is_replaced() -> None:
    with pytest.raises(RenderRefused, match="Come back later") as refused:
        rendering(HEAR, say("failed", 1, error="Come back later", code="queue_full", params=[1]), HEAR)
    assert (refused.value.code, refused.value.params) == (ErrorCode.RENDER_FAILED, {})


def test_an_engine_that_does_not_stop_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("api.rendering.engine_process.CANCEL_SECONDS", 0.1)
    caplog.set_level(logging.INFO)

    async def scenario(engine: EngineProcess) -> None:
        job = asyncio.create_task(engine.render(JOB, ignore))
        await asyncio.sleep(0.05)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert not engine.alive

    run(scenario, READY, HEAR, HEAR, "sleep 600")
    assert "ended, for it did not stop within 0.1 seconds" in caplog.text


def test_one_that_does_not_stop_is_left_alone_while_others_render_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.rendering.engine_process.CANCEL_SECONDS", 0.05)

    async def scenario(engine: EngineProcess) -> None:
        first, other = (asyncio.create_task(engine.render(JOB, ignore)) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        assert (await other).frames == 24
        with pytest.raises(asyncio.CancelledError):
            await first

    script = ("sleep 0.4", say("done", 2, **RESULT), say("cancelled", 1), HEAR)
    run(scenario, READY, HEAR, HEAR, HEAR, *script)


def test_only_the_last_words_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(EngineLost):
        rendering(HEAR, 'i=0; while [ $i -lt 60 ]; do echo "word $i." >&2; i=$((i+1)); done; exit 1')
    assert "word 59." in caplog.text
    assert "word 19." not in caplog.text
    assert "word 20." in caplog.text


def test_a_program_that_is_not_there() -> None:
    async def start() -> None:
        await EngineProcess.start(["/no/such/program"], "lite", load_seconds=1, stall_seconds=1)

    with pytest.raises(EngineLost, match="could not be started: No such file"):
        asyncio.run(start())
