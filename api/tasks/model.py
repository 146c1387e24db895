"""Tasks, which clients make and see, and renders, which are worked on.

Identical requests with a seed share one render, so a task is one client's claim on it. The task has its own id and time
of creation; state, progress and result belong to the render. A client is not told what happened to the render before
its task was made or after it was cancelled, because that concerns other clients. A cancelled task is a claim that was
given up: the render goes on as long as another task claims it.
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
"""The states that may follow each state. COMPLETED and FAILED are final."""

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
"""The state of a cancelled task, and of a render without claims. The documented states have no word for it."""


WAITING = "Waiting in queue"


@dataclass(frozen=True)
class Render:
    """One video: waiting, being rendered, or finished."""

    id: str  # UUID4, the same as the first task's
    options: RenderOptions  # `seed` is set
    engine: str  # its name, never auto
    cache_key: str | None  # None: no seed was given, so no other task may share it
    seconds: float  # how long the video will be
    created_at: datetime
    updated_at: datetime
    number: int = 0  # order of acceptance; set by the store
    status: TaskStatus = TaskStatus.PENDING
    progress: float = 0.0  # in [0, 1]; never decreases, not even with a second attempt
    stage: str = "queued"  # one word for programs
    message: str = WAITING  # one sentence for people
    step: int = 0  # of `steps` in this stage; 0 of 0 if nothing is counted
    steps: int = 0
    detail: str | None = None  # if it failed: what to try
    error_code: str | None = None  # if it failed: an `ErrorCode`
    error_params: dict[str, Any] | None = None  # the values in message and detail
    attempts: int = 0  # started so far
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: dict[str, Any] = field(default_factory=dict)  # if finished: what the file holds
    pixels: int = 0  # per frame of the video; 0 if an earlier release made it
    labels: LabelOptions = field(default_factory=LabelOptions)  # of the video


@dataclass(frozen=True)
class Task:
    """One accepted request."""

    id: str  # UUID4
    created_at: datetime
    render: Render
    owner: str | None = None  # name of its API key; None without keys
    cancelled_at: datetime | None = None
    cancelled_progress: float = 0.0  # of the render at that time, like the next two
    cancelled_attempts: int = 0
    cancelled_started_at: datetime | None = None
    attempts_before: int = 0  # attempts at the render that had ended when this task joined it
    idempotency_key: str | None = None  # the client's name for the request
    request_hash: str | None = None  # of the request's body
    warnings: list[dict[str, Any]] = field(default_factory=list)  # about the files, as in preflight
    unlabelled_for: str | None = None  # address of a client that asked for no visible label; written once
    callback_url: str | None = None  # written once; only `api.callbacks.delivery` reads it

    def as_seen_by_client(self) -> "Task":
        """Return the task as its client sees it: a cancelled one has ended, whatever happens to the render."""
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
        """Return the task as a claim on an existing render."""
        running = render.status in (TaskStatus.PROCESSING, TaskStatus.COMPLETED)
        return replace(self, render=render, attempts_before=max(0, render.attempts - running))

    @property
    def attempts(self) -> int:
        """Attempts that were started since the task was made."""
        return max(0, self.render.attempts - self.attempts_before)

    @property
    def started_at(self) -> datetime | None:
        """When the last attempt began, or the task joined it; None before the first attempt."""
        started = self.render.started_at
        return max(started, self.created_at) if started and self.attempts else None

    @property
    def finished_at(self) -> datetime | None:
        """When the task ended. A task that found the video finished ended at once."""
        finished = self.render.finished_at
        return max(finished, self.created_at) if finished else None

    @property
    def updated_at(self) -> datetime:
        """When the task last changed."""
        return max(self.render.updated_at, self.created_at)

    @property
    def message(self) -> str:
        """What is being done. For a waiting render, only what was said since the task was made."""
        waits_from_before = self.render.status is TaskStatus.PENDING and self.render.updated_at < self.created_at
        return WAITING if waits_from_before else self.render.message


@dataclass(frozen=True)
class Callback:
    """A callback that is still to be delivered."""

    task_id: str
    owner: str | None
    url: str
    attempts: int  # failed so far


@dataclass(frozen=True)
class Unlabelled:
    """A request for a video without the visible label."""

    task_id: str
    render_id: str
    asked_at: datetime
    owner: str | None
    address: str
    sha256: str | None  # of the video; None if it was not finished, or its hash was forgotten


def request_hash(image_hash: str, audio_hash: str, fields: dict[str, Any]) -> str:
    """Return a hash that is equal for requests with equal bodies: same bytes, same fields."""
    return hashlib.sha256(json.dumps([image_hash, audio_hash, fields], sort_keys=True).encode()).hexdigest()


def cache_key(
    image_hash: str, audio_hash: str, options: RenderOptions, engine: str, fingerprint: str, labels: LabelOptions
) -> str:
    """Return a hash that is equal for requests that must give the same video: bytes, options, engine, weights, labels.

    Blocking.
    """
    drawn = [labels.visible_label, labels.words, labels.visible_label_corner] if labels.words else []
    marks = [labels.content_producer, *drawn, signature.identity(labels)]
    parts = [image_hash, audio_hash, options.model_dump(mode="json"), engine, fingerprint, marks]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
