"""A client of the service: submits tasks, waits for them and downloads the videos.

    from dice_talk.client import Client

    with Client() as client:
        client.render("portrait.jpg", "speech.wav", "result.mp4", emotion="happy")

Requires `requests`, but none of the packages that render.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from dice_talk.atomic import atomic_path
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError

SERVER_VARIABLE, SERVER = "DICE_TALK_SERVER", "http://localhost:8000"
KEY_VARIABLE = "DICE_TALK_API_KEY"
NEEDS_KEY = f"Ask the operator of the server for a key. Then set {KEY_VARIABLE}, or pass --key (in Python, key=)."
RETRIES, BACKOFF_S = 5, 0.5
"""Waits 0, 1, 2, 4 and 8 seconds, which is enough for a server to restart, or longer if the server sends `Retry-After`.
"""
TIMEOUT_S = 60.0
_BUSY = (429, 503)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _SLOWER = 0.2, 2.0, 1.3
_PAUSE_PER_TASK_S = 0.2
"""With API keys, a server allows 600 requests a minute for each key. This uses half of them."""
_DOWNLOADS = 3
_BLOCK = 1 << 16

File = Path | str | bytes
"""A path, or the content of the file."""
Data = TypeVar("Data")


@dataclass(frozen=True)
class TaskCreated:
    """A task that was accepted."""

    task_id: str
    status: str
    message: str
    warnings: Sequence[Mapping[str, Any]] = ()  # code, message, blocking


@dataclass(frozen=True)
class TaskState:
    """The state of a task. Fields that the server does not send have their defaults."""

    task_id: str
    status: str  # PENDING, PROCESSING, COMPLETED or FAILED
    progress: float  # 0.0 to 1.0
    message: str
    created_at: str  # UTC
    updated_at: str
    detail: str | None = None
    error_code: str | None = None  # of a failed task: why
    error_params: Mapping[str, Any] | None = None  # the values in message and detail
    stage: str = ""
    queue_position: int | None = None
    engine: str = ""
    weights: str | None = None
    seed: int | None = None
    duration: float | None = None  # seconds of video
    elapsed_seconds: float = 0.0
    attempts: int = 0
    step: int | None = None
    steps: int | None = None
    frame: int | None = None
    frames: int | None = None
    eta_seconds: Mapping[str, float] | None = None  # low, high
    cancelled: bool = False
    warnings: Sequence[Mapping[str, Any]] = ()  # code, message, blocking
    visible_label: str | None = None  # the label drawn into the video

    @property
    def ended(self) -> bool:
        """Whether the task is completed or failed."""
        return self.status in ("COMPLETED", "FAILED")


@dataclass(frozen=True)
class Health:
    """Whether the service can accept and render tasks."""

    status: str  # healthy or unhealthy
    gpu_available: bool
    model_loaded: bool
    version: str
    engine: str | None = None
    weights: str | None = None
    queue_length: int = 0
    queue_size: int = 0
    slots: int = 0
    slots_busy: int = 0
    nodes: Sequence[Mapping[str, Any]] | None = None  # name, slots, slots_busy
    detail: str | None = None


class ClientError(DiceTalkError):
    """Base of what can go wrong with a server. `code` says which error it was, `params` the values in its sentences."""


class ServerUnreachable(ClientError):
    """No DICE-Talk server answers, even after all retries."""


class Refused(ClientError):
    """The server says no, in the words of the error. `code` is `UNKNOWN` if the server names none."""

    def __init__(self, status: int, code: ErrorCode, message: str, detail: str | None) -> None:
        super().__init__(code, message, detail)
        self.status = status  # HTTP status


class KeyRefused(Refused):
    """The server needs an API key and does not accept the one that was sent."""


class ServerBusy(Refused):
    """The server takes nothing more at the moment, also after all retries. The same call may work later."""


class TaskNotFound(Refused):
    """The server does not have this task, or not any more."""


class TaskFailed(ClientError):
    """The task failed. The message is the server's."""

    def __init__(self, state: TaskState) -> None:
        super().__init__(ErrorCode.known(state.error_code), state.message, state.detail)
        self.params = dict(state.error_params or {})
        self.state = state


class NotInTime(ClientError):
    """The task did not end within the timeout. It continues on the server."""


class _Bearer(requests.auth.AuthBase):
    """Sends the API key. As a header of the session it would be overridden by a password in ~/.netrc."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class _Again(Retry):
    """Says that it waits, and for what."""

    waiting: Callable[[BaseHTTPResponse | None], None] | None = None

    def new(self, **changed: Any) -> Self:
        """As in urllib3, which makes a new one for each attempt."""
        again = super().new(**changed)
        again.waiting = self.waiting
        return again

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        """Wait before the next attempt. `response`: the server's, if it answers."""
        if self.waiting:
            self.waiting(response)
        super().sleep(response)


def _tell_waiting(waiting: Callable[[str], None], server: str, response: BaseHTTPResponse | None) -> None:
    waiting(f"Waiting for the server at {server}, which {'is busy' if response else 'does not answer'}...")


class Client:
    """A connection to one server. A context manager; use it in one thread only.

    Every request, including the submission, is retried if the connection fails or the server is busy (503, 429). All
    attempts of a submission carry the same `Idempotency-Key`, so they create one task. Raises `ClientError`.
    """

    def __init__(
        self,
        server: str | None = None,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT_S,
        retries: int = RETRIES,
        backoff: float = BACKOFF_S,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        """`server` and `key` default to DICE_TALK_SERVER and DICE_TALK_API_KEY. `timeout`: seconds per response.

        `waiting` is called before each retry, and told in a sentence what the client waits for.
        """
        self.server = _with_scheme((server or os.environ.get(SERVER_VARIABLE) or SERVER).rstrip("/"))
        self._timeout = timeout
        self._session = requests.Session()
        self._session.auth = _Bearer(key or os.environ.get(KEY_VARIABLE))
        again = _Again(
            retries,
            allowed_methods=None,  # all methods
            status_forcelist=_BUSY,
            backoff_factor=backoff,
            raise_on_status=False,  # the last response carries the server's message
        )
        again.waiting = waiting and partial(_tell_waiting, waiting, self.server)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=again))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def health(self) -> Health:
        """Return the health of the service."""
        return _filled(Health, self._call("GET", "/api/health"))

    def submit(self, portrait: File, speech: File, emotion: str = "happy", **options: object) -> TaskCreated:
        """Start a task. `options`: further form fields, such as `fps=30`; None is left out."""
        given = {name: _field(value) for name, value in options.items() if value is not None}
        answer = self._call(
            "POST",
            "/api/v1/synthesis/start",
            files={"image": _content(portrait), "audio": _content(speech)},
            data={"emotion": emotion, **given},
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )
        return _filled(TaskCreated, answer)

    def status(self, task_id: str) -> TaskState:
        """Return the state of a task."""
        return _filled(TaskState, self._call("GET", _path(task_id, "status")))

    def cancel(self, task_id: str) -> TaskState:
        """Cancel a task that is waiting or running."""
        return _filled(TaskState, self._call("POST", _path(task_id, "cancel")))

    def follow(self, *task_ids: str, timeout: float | None = None) -> Iterator[TaskState]:
        """Yield each new state of each task until all have ended. `timeout`: seconds for all tasks together."""
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        waiting: dict[str, TaskState | None] = dict.fromkeys(task_ids)
        pause = _FIRST_PAUSE_S
        while waiting:
            for task_id, known in list(waiting.items()):
                state = self.status(task_id)
                if state != known:
                    yield state
                waiting[task_id] = state
                if state.ended:
                    del waiting[task_id]
            left = end - time.monotonic()
            if waiting and left <= 0:
                raise NotInTime(
                    ErrorCode.NOT_IN_TIME,
                    f"Not done within {timeout:g} seconds: {', '.join(waiting)}",
                    "They go on at the server.",
                )
            if waiting:
                time.sleep(min(left, max(pause, len(waiting) * _PAUSE_PER_TASK_S)))
                pause = min(pause * _SLOWER, _LONGEST_PAUSE_S)

    def wait(
        self, task_id: str, progress: Callable[[TaskState], None] | None = None, *, timeout: float | None = None
    ) -> TaskState:
        """Wait until a task is completed. Calls `progress` with each new state.

        Raises `TaskFailed`, or `NotInTime` after `timeout` seconds.
        """
        for state in self.follow(task_id, timeout=timeout):
            if progress:
                progress(state)
            if state.status == "FAILED":
                raise TaskFailed(state)
        return state

    def download(self, task_id: str, output: Path | str) -> Path:
        """Download a finished video. An existing file is replaced once the download is complete."""
        path = Path(output)
        with atomic_path(path) as part:
            for left in reversed(range(_DOWNLOADS)):
                try:
                    self._stream(_path(task_id, "download"), part)
                    break
                except ServerUnreachable:  # interrupted during the transfer, which the retries of requests do not cover
                    if not left:
                        raise
        return path

    def render(
        self,
        portrait: File,
        speech: File,
        output: Path | str,
        emotion: str = "happy",
        *,
        progress: Callable[[TaskState], None] | None = None,
        timeout: float | None = None,
        **options: object,
    ) -> TaskState:
        """Submit a task, wait for it and download the video."""
        task = self.submit(portrait, speech, emotion, **options)
        state = self.wait(task.task_id, progress, timeout=timeout)
        self.download(task.task_id, output)
        return state

    def _stream(self, path: str, part: Path) -> None:
        with self._ask("GET", path, stream=True) as answer, part.open("wb") as file:
            try:
                for block in answer.iter_content(_BLOCK):
                    file.write(block)
            except requests.RequestException as error:
                raise self._unreachable("The download broke off") from error

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            body = self._ask(method, path, **arguments).json()
        except requests.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise self._unreachable("The server is not a DICE-Talk server")
        return body

    def _ask(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self.server + path, timeout=self._timeout, **arguments)
        except requests.RequestException as error:
            raise self._unreachable("No server answers") from error
        if not answer.ok:
            raise _refusal(answer)
        return answer

    def _unreachable(self, words: str) -> ServerUnreachable:
        detail = f"Start it, or set {SERVER_VARIABLE} to another."
        return ServerUnreachable(ErrorCode.SERVER_UNREACHABLE, f"{words} at {self.server}", detail)


_KINDS: Mapping[ErrorCode, type[Refused]] = {
    **dict.fromkeys((ErrorCode.KEY_MISSING, ErrorCode.KEY_UNKNOWN, ErrorCode.KEY_REVOKED), KeyRefused),
    **{code: ServerBusy for code in ErrorCode if code.status in _BUSY},
    ErrorCode.TASK_NOT_FOUND: TaskNotFound,
}
_KINDS_BY_STATUS: Mapping[int, type[Refused]] = {
    HTTPStatus.UNAUTHORIZED: KeyRefused,
    HTTPStatus.FORBIDDEN: KeyRefused,
    HTTPStatus.NOT_FOUND: TaskNotFound,
    **dict.fromkeys(_BUSY, ServerBusy),
}
"""For servers that name no code, and for proxies before them."""


def _refusal(answer: requests.Response) -> Refused:
    status = answer.status_code
    try:
        body = answer.json()
        code, message, detail = ErrorCode.known(body.get("code")), str(body["error"]), body.get("detail")
        params = dict(body.get("params") or {})
    except (requests.JSONDecodeError, AttributeError, TypeError, ValueError, KeyError):  # not the service's own
        code, message, detail = ErrorCode.UNKNOWN, f"The server answers {status} {answer.reason}", None
        return _KINDS_BY_STATUS.get(status, Refused)(status, code, message, detail)
    kind = _KINDS.get(code, Refused) if code is not ErrorCode.UNKNOWN else _KINDS_BY_STATUS.get(status, Refused)
    refusal = kind(status, code, message, NEEDS_KEY if status == HTTPStatus.UNAUTHORIZED else detail)
    refusal.params = params
    return refusal


def _filled(kind: type[Data], body: Mapping[str, Any]) -> Data:
    """Fill a dataclass from a response. Ignores fields that the dataclass does not have."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{name: value for name, value in body.items() if name in known})
    except TypeError as error:
        raise ServerUnreachable(
            ErrorCode.SERVER_UNREACHABLE, "The server is not a DICE-Talk server", str(error)
        ) from error


def _with_scheme(server: str) -> str:
    return server if "://" in server else f"http://{server}"


def _content(file: File) -> bytes:
    return file if isinstance(file, bytes) else Path(file).read_bytes()


def _field(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _path(task_id: str, verb: str) -> str:
    return f"/api/v1/synthesis/{quote(task_id, safe='')}/{verb}"
