"""An engine in a process of its own: `python -m dice_talk.worker ENGINE CHECKPOINTS [FLAG ...]`.

It speaks JSON, one object a line. In: `{"job": N, "render": {...}}` to render, `{"job": N, "cancel": true}` to stop.
Out: `ready` of job 0 once the models are loaded, then per job any number of `progress` and one of `done`, `failed` (the
input is to blame: another attempt would fail too), `cancelled`, `no_room` (on the disk) or `crashed` (anything else).
Each job has a thread of its own. The process ends when its input ends, so it never outlives the service.
"""

import json
import logging
import os
import resource
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from dice_talk import priority
from dice_talk.cleaning import clean_progress, clean_text
from dice_talk.engine import Engine, Precision, Progress, RenderJob, Report, Tuning
from dice_talk.engines import load_engine
from dice_talk.errors import Cancelled, DiceTalkError, no_memory, no_room
from dice_talk.labels import Labels
from dice_talk.options import RenderOptions
from dice_talk.outcomes import clean_error, clean_result

log = logging.getLogger(__name__)

FLAGS = {"--compile": "compiled", "--all-gpus": "all_gpus"}
"""Flags of the command line, with the fields of `Tuning`."""
PRECISION = "--precision="
Message = dict[str, Any]
Say = Callable[[Message], None]


def flags_of(tuning: Tuning) -> list[str]:
    """Return the flags for a tuning."""
    chosen = [flag for flag, name in FLAGS.items() if getattr(tuning, name)]
    return chosen + ([] if tuning.precision is Precision.AUTO else [f"{PRECISION}{tuning.precision}"])


def tuning_of(flags: Sequence[str]) -> Tuning:
    """Return the tuning for flags. Raises `LookupError` or `ValueError` for others."""
    precisions = [Precision(flag.removeprefix(PRECISION)) for flag in flags if flag.startswith(PRECISION)]
    switches = {FLAGS[flag]: True for flag in flags if not flag.startswith(PRECISION)}
    return Tuning(**switches, precision=next(iter(precisions), Precision.AUTO))


def encode_job(number: int, job: RenderJob) -> Message:
    """Return the message that starts `job`. `number` (from 1) is repeated in everything about it."""
    paths = {"image": str(job.image), "audio": str(job.audio), "output": str(job.output)}
    state = str(job.state) if job.state else None
    options, labels = (one.model_dump(mode="json") for one in (job.options, job.labels))
    return {"job": number, "render": {**paths, "options": options, "state": state, "labels": labels}}


def encode_cancel(number: int) -> Message:
    """Return the message that stops a job."""
    return {"job": number, "cancel": True}


def decode_job(message: Message) -> RenderJob:
    """Return the job that `encode_job` encoded."""
    return RenderJob(
        image=Path(message["image"]),
        audio=Path(message["audio"]),
        output=Path(message["output"]),
        options=RenderOptions.model_validate(message["options"]),
        state=Path(message["state"]) if message["state"] else None,
        labels=Labels.model_validate(message["labels"]),
    )


def encode_progress(progress: Progress) -> Message:
    """Return the message that reports progress."""
    fields = asdict(clean_progress(progress))
    preview = fields.pop("preview")
    return {"event": "progress", **fields} | ({"preview": b64encode(preview).decode()} if preview else {})


def decode_progress(event: Message) -> Progress:
    """Return the progress that `encode_progress` encoded. Raises `TypeError` or `ValueError` if it is none."""
    fields = {name: value for name, value in event.items() if name not in ("job", "event")}
    preview = b64decode(fields.pop("preview", ""), validate=True)
    return clean_progress(Progress(**fields, preview=preview or None))


def decode_event(line: bytes) -> tuple[int, Message]:
    """Return the number of the job that a line is about, and the rest of it. Raises `ValueError` if it is no event."""
    try:
        match json.loads(line):
            case {"job": int(number), "event": str(), **_rest} as event:
                return number, {name: value for name, value in event.items() if name != "job"}
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    raise ValueError("not an event")


def serve(load: Callable[[], Engine]) -> None:
    """Load an engine, then render the jobs that arrive on standard input until it ends."""
    say = _speaker()
    loaded: list[Engine] = []
    is_loaded = threading.Event()
    threading.Thread(target=_listen, args=(loaded, is_loaded, say), daemon=True).start()
    try:
        loaded.append(load())
    except DiceTalkError as error:
        say({"job": 0, "event": "failed", **clean_error(error)})
        return
    is_loaded.set()
    say({"job": 0, "event": "ready"})
    threading.Event().wait()  # _listen ends the process


def _listen(loaded: list[Engine], is_loaded: threading.Event, say: Say) -> None:
    """Start and stop jobs as told. Also notices if the service ends while the engine is loading."""
    cancels: dict[int, threading.Event] = {}
    for line in sys.stdin:
        message: Message = json.loads(line)
        number = message["job"]
        if "render" in message:
            is_loaded.wait()
            cancels[number] = threading.Event()
            job = decode_job(message["render"])
            threading.Thread(target=_render, args=(loaded[0], job, number, cancels, say), daemon=True).start()
        elif cancel := cancels.get(number):
            cancel.set()
    os._exit(0)  # the service is gone: even a render that is stuck must not stay behind


def _render(engine: Engine, job: RenderJob, number: int, cancels: dict[int, threading.Event], say: Say) -> None:
    """Render one job and report its outcome. No unfinished file is left."""
    cancel = cancels[number]

    def report(progress: Progress) -> None:
        if cancel.is_set():
            raise Cancelled
        say({"job": number, **encode_progress(progress)})

    try:
        outcome = _outcome(engine, job, report)
    except BaseException as error:
        log.exception("The engine crashed")
        crash = {"event": "crashed", "error": clean_text(type(error).__name__), "memory": no_memory(error)}
        outcome = {"event": "no_room"} if no_room(error) else crash
    if outcome["event"] != "done":
        with suppress(OSError):
            job.output.unlink(missing_ok=True)
    del cancels[number]
    say({"job": number, **outcome})


def _outcome(engine: Engine, job: RenderJob, report: Report) -> Message:
    """Render one job and return the message about its end. Raises what the engine should not have raised."""
    from dice_talk.video import finish  # the service reads this module too, and has no use for a codec

    try:
        result = engine.render(job, report)
        finish(job, result, engine.name)
        return {"event": "done", **clean_result(result)}
    except DiceTalkError as error:
        return {"event": "failed", **clean_error(error)}
    except Cancelled:
        return {"event": "cancelled"}


def claim_stdout() -> TextIO:
    """Reserve standard output for messages. What libraries print goes to standard error."""
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return messages


def _speaker() -> Say:
    messages, lock = claim_stdout(), threading.Lock()

    def say(message: Message) -> None:
        with lock:
            messages.write(json.dumps(message, ensure_ascii=False) + "\n")
            messages.flush()

    return say


def main() -> None:
    """Serve the engine that the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    priority.lower_priority(priority.ENGINE)
    name, checkpoints, *flags = sys.argv[1:]
    serve(lambda: load_engine(name, Path(checkpoints), tuning_of(flags)))


if __name__ == "__main__":
    main()
