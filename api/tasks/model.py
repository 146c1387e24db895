"""What a client gets (a task) and what is worked on (a render).

Identical requests with a seed share one render, so a task is one client's claim on it: it has an id and a birth of
its own; state, progress and result are the render's. What happened to the render before the task was made, or after it
was cancelled, is not told: that is other clients' business. A claim can be given up, which is kept with the task: the
render goes on as long as somebody wants it.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from dice_talk.error_codes import ErrorCode
from dice_talk.labels import LabelOptions, signature
from dice_talk.options import RenderOptions


class TaskStatus(StrEnum):
    """The documented states. PROCESSING goes back to PENDING when an engine process is lost."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


LEGAL = {
    TaskStatus.PENDING: {TaskStatus.PROCESSING, TaskStatus.FAILED},
    TaskStatus.PROCESSING: {TaskStatus.PROCESSING, TaskStatus.PENDING, TaskStatus.COMPLETED, TaskStatus.FAILED},
    TaskStatus.COMPLETED: set[TaskStatus](),
    TaskStatus.FAILED: set[TaskStatus](),
}
"""From each state, the states that may follow. COMPLETED and FAILED are final."""

FINAL = frozenset(status for status, following in LEGAL.items() if not following)
CANCELLED: dict[str, Any] = {
    "status": TaskStatus.FAILED,
    "stage": "cancelled",
    "message": "Cancelled",
    "detail": None,
    "error_code": ErrorCode.CANCELLED.value,
    "error_params": None,
    "step": 0,
    "steps": 0,
}
"""How a cancelled task is told, and a render that nobody wants any more: the documented states have no word for it."""


WAITING = "Waiting in queue"


@dataclass(frozen=True)
class Render:
    """One video to make, being made, or made. Its folder is named after `id`."""

    id: str  # UUID4: that of the first task that asked for it
    options: RenderOptions  # `seed` is set
    engine: str  # diffusion or lite, never auto
    cache_key: str | None  # None: no seed was given, so nobody else may share it
    seconds: float  # how long the video will be
    created_at: datetime
    updated_at: datetime
    number: int = 0  # order of acceptance; set by the store
    status: TaskStatus = TaskStatus.PENDING
    progress: float = 0.0  # in [0, 1]; never goes back, also not over a second attempt
    stage: str = "queued"  # one word for programs
    message: str = WAITING  # one sentence for people
    step: int = 0  # of `steps` in this stage; 0 of 0 where nothing is counted
    steps: int = 0
    detail: str | None = None  # of a failure: what to try
    error_code: str | None = None  # of a failure: one of `ErrorCode`
    error_params: dict[str, Any] | None = None  # the values in message and detail
    attempts: int = 0  # started so far
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: dict[str, Any] = field(default_factory=dict)  # of a finished one: what the file holds
    pixels: int = 0  # of the video, a frame; 0 where an earlier release did not note it
    labels: LabelOptions = field(default_factory=LabelOptions)  # that the video carries, or will


@dataclass(frozen=True)
class Task:
    """One accepted request."""

    id: str  # UUID4
    created_at: datetime
    render: Render
    owner: str | None = None  # name of the API key it was made with; None without keys
    cancelled_at: datetime | None = None
    cancelled_progress: float = 0.0  # the render's at that time, as are the next two
    cancelled_attempts: int = 0
    cancelled_started_at: datetime | None = None
    attempts_before: int = 0  # of the render that were over when this task joined it
    idempotency_key: str | None = None  # the client's own name for the request that made it
    request_hash: str | None = None  # of that request's body
    warnings: list[dict[str, Any]] = field(default_factory=list)  # about what was sent, as preflight has them
    unlabelled_for: str | None = None  # address of a client that asked for no visible label; told to the store once
    callback_url: str | None = None  # told to the store once, and by it to `api.callbacks.delivery` only

    def as_seen_by_client(self) -> "Task":
        """As its client sees it: once cancelled it has ended, whatever becomes of the render."""
        if self.cancelled_at is None:
            return self
        end = self.cancelled_at
        render = replace(
            self.render,
            progress=self.cancelled_progress,
            attempts=self.cancelled_attempts,
            started_at=self.cancelled_started_at,
            updated_at=end,
            finished_at=end,
            **CANCELLED,
        )
        return replace(self, render=render)

    def joining(self, render: Render) -> "Task":
        """The same request, as a claim on a render that is there already."""
        running = render.status in (TaskStatus.PROCESSING, TaskStatus.COMPLETED)
        return replace(self, render=render, attempts_before=max(0, render.attempts - running))

    @property
    def attempts(self) -> int:
        """Begun or gone on with since the task was made."""
        return max(0, self.render.attempts - self.attempts_before)

    @property
    def started_at(self) -> datetime | None:
        """When the present or last attempt began, or the task joined it. None where it still waits for its first."""
        started = self.render.started_at
        return max(started, self.created_at) if started and self.attempts else None

    @property
    def finished_at(self) -> datetime | None:
        """When it ended; a task that found the video finished ended at once."""
        finished = self.render.finished_at
        return max(finished, self.created_at) if finished else None

    @property
    def updated_at(self) -> datetime:
        """When something last changed."""
        return max(self.render.updated_at, self.created_at)

    @property
    def message(self) -> str:
        """What is being done; of a render that waits, only what was said since the task was made."""
        waits_from_before = self.render.status is TaskStatus.PENDING and self.render.updated_at < self.created_at
        return WAITING if waits_from_before else self.render.message


@dataclass(frozen=True)
class Callback:
    """What is to be told to a client's server once a task has ended."""

    task_id: str
    owner: str | None
    url: str
    attempts: int  # that failed


@dataclass(frozen=True)
class Unlabelled:
    """A request for a video without the visible label."""

    task_id: str
    render_id: str
    asked_at: datetime
    owner: str | None
    address: str
    sha256: str | None  # of the video; None where it was not made, or that is forgotten


def request_hash(image_hash: str, audio_hash: str, fields: dict[str, Any]) -> str:
    """Equal for requests of equal bodies: same bytes, same fields as they were sent."""
    return hashlib.sha256(json.dumps([image_hash, audio_hash, fields], sort_keys=True).encode()).hexdigest()


def cache_key(
    image_hash: str, audio_hash: str, options: RenderOptions, engine: str, fingerprint: str, labels: LabelOptions
) -> str:
    """Equal for requests that must give the same video: same bytes, full set of options, engine, weights and labels.

    Blocking.
    """
    drawn = [labels.visible_label, labels.words, labels.visible_label_corner] if labels.words else []
    marks = [labels.content_producer, *drawn, signature.identity(labels)]
    parts = [image_hash, audio_hash, options.model_dump(mode="json"), engine, fingerprint, marks]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
