"""An engine in a process of its own: `python -m dice_talk.worker ENGINE CHECKPOINTS`.

Speaks JSON, one object a line. In: `{"job": {...}}` to render, `{"cancel": true}` to stop it. Out: `ready` once the
models are loaded, then per job any number of `progress` and one of `done`, `failed` (the input is to blame: trying
again is no use), `cancelled` or `crashed` (anything else). Ends when its input ends, so it never outlives the service.
"""

import json
import logging
import os
import queue
import resource
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from dice_talk import video
from dice_talk.engine import Engine, Progress, RenderJob, load_engine
from dice_talk.errors import Cancelled, DiceTalkError
from dice_talk.options import RenderOptions

log = logging.getLogger(__name__)

Message = dict[str, Any]


def encode_job(job: RenderJob) -> Message:
    """The message that asks a worker for `job`."""
    paths = {"image": str(job.image), "audio": str(job.audio), "output": str(job.output)}
    return {"job": {**paths, "options": job.options.model_dump(mode="json")}}


def _decode_job(message: Message) -> RenderJob:
    return RenderJob(
        image=Path(message["image"]),
        audio=Path(message["audio"]),
        output=Path(message["output"]),
        options=RenderOptions.model_validate(message["options"]),
    )


def serve(load: Callable[[], Engine]) -> None:
    """Loads an engine, then renders the jobs that arrive on standard input until it ends."""
    say = _claim_stdout()
    jobs: queue.Queue[Message] = queue.Queue()
    cancel = threading.Event()
    threading.Thread(target=_listen, args=(sys.stdin, jobs, cancel), daemon=True).start()
    try:
        engine = load()
    except DiceTalkError as error:
        say({"event": "failed", "error": str(error), "detail": error.detail})
        return
    say({"event": "ready"})
    while True:
        job = _decode_job(jobs.get())
        say(_render(engine, job, cancel, say))


def _render(engine: Engine, job: RenderJob, cancel: threading.Event, say: Callable[[Message], None]) -> Message:
    """Renders one job and gives the event that ends it. Nothing half-made stays."""

    def report(progress: Progress) -> None:
        if cancel.is_set():
            raise Cancelled
        say({"event": "progress", **asdict(progress)})

    try:
        result = engine.render(job, report)
        video.verify(job.output, result)
    except DiceTalkError as error:
        outcome = {"event": "failed", "error": str(error), "detail": error.detail}
    except Cancelled:
        outcome = {"event": "cancelled"}
    except Exception as error:
        log.exception("The engine crashed")
        outcome = {"event": "crashed", "error": type(error).__name__}
    else:
        return {"event": "done", **asdict(result)}
    job.output.unlink(missing_ok=True)
    return outcome


def _claim_stdout() -> Callable[[Message], None]:
    """Keeps standard output for messages alone: whatever a library prints goes to standard error."""
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lock = threading.Lock()

    def say(message: Message) -> None:
        with lock:
            messages.write(json.dumps(message) + "\n")
            messages.flush()

    return say


def _listen(source: TextIO, jobs: "queue.Queue[Message]", cancel: threading.Event) -> None:
    for line in source:
        message: Message = json.loads(line)
        if "job" in message:
            cancel.clear()  # one that came too late for the job before
            jobs.put(message["job"])
        else:
            cancel.set()
    os._exit(0)  # the service is gone: even a render that is stuck must not stay behind


def main() -> None:
    """Entry point: serves the engine named on the command line."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    name, checkpoints = sys.argv[1], Path(sys.argv[2])
    serve(lambda: load_engine(name, checkpoints))


if __name__ == "__main__":
    main()
