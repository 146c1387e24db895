"""Objects in a store such as S3, through obstore. Knows keys and bytes, and nothing of renders.

Credentials and endpoint come from the environment variables that are standard for each kind of store.
"""

import asyncio
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import obstore
from obstore import exceptions
from obstore.store import S3Store, from_url

from api.settings import StartError
from api.storage.files import Problem, StorageFailure
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import no_room

log = logging.getLogger(__name__)

T = TypeVar("T")

CALM: dict[str, Any] = {
    "client_options": {"connect_timeout": "3s", "read_timeout": "30s", "timeout": "1h"},
    "retry_config": {
        "max_retries": 5,
        "retry_timeout": timedelta(seconds=5),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
    },
}
"""For a store that answers: a short fault is not noticed. The read timeout also limits how long one part of a large
file may take to be sent."""
HASTY: dict[str, Any] = {
    "client_options": {"connect_timeout": "2s", "read_timeout": "3s", "timeout": "3s"},
    "retry_config": {"max_retries": 0},
}
"""For a store that did not answer the last time: clients should not wait for it."""
FINE_S, FAULTY_S = 10.0, 1.0
"""How long what is known of the store holds, while it answers and while it does not."""
CHUNK = 256 * 1024
"""Bytes that a download holds in memory."""
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0)
"""Before a download that has begun is tried again at the byte where it broke off."""
REFUSED = exceptions.PermissionDeniedError, exceptions.UnauthenticatedError
PARTS_AT_ONCE = 4
"""Parts of a large file, 5 MB each: what an upload takes of memory."""
BODY = re.compile(r"<(\?xml|Error).*?(<Code>(?P<code>\w+)</Code>.*|$)")
"""What S3 says about an error: everything but its code may quote the request."""
QUERY = re.compile(r"\?[^\s\"')]*")
"""The query of an address, which can contain a signature."""


def said_by(error: BaseException) -> str:
    """Return what the store said, in one line for the log, without what could be secret."""
    text, _, _ = " ".join(str(error).split()).partition(" Debug source:")
    text = BODY.sub(lambda found: found["code"] or "", text)
    return QUERY.sub("?...", text)[:300]


class Bucket:
    """A prefix in an object store. All methods block but `stream`, which is asynchronous.

    They raise `FileNotFoundError` where an object is needed that is not there, and `StorageFailure`.
    """

    def __init__(self, url: str) -> None:
        """Raises `StartError`."""
        local = {"mkdir": True, "automatic_cleanup": True} if url.startswith("file:") else None
        # Of the variables of a store, options of the client alone are overridden by what is given here.
        http = {"allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")}
        options = [kind | {"client_options": kind["client_options"] | http} for kind in (CALM, HASTY)]
        try:
            self._calm, self._hasty = (from_url(url, **(local or one)) for one in options)
        except (exceptions.BaseError, ValueError, OSError) as error:
            raise StartError(f"the storage {url} cannot be used: {said_by(error)}") from error
        self.url, self.can_sign = url, local is None
        self._problem: Problem | None = None
        self._known_until = 0.0
        self._probing = threading.Lock()

    @property
    def _store(self) -> Any:
        """What to ask for small things."""
        return self._hasty if self._problem else self._calm

    def check(self) -> None:
        """Try what the service needs. A store that does not answer is not an error: it may come back.

        Raises `StartError` for one that refuses the credentials, has no such bucket, or ignores conditions.
        """
        key = f"check-{uuid.uuid4().hex}"
        try:
            heeds_conditions = self._refuses_second(key)
            self.delete([key])
        except StorageFailure as error:
            if isinstance(error.__cause__, (*REFUSED, FileNotFoundError, exceptions.NotSupportedError)):
                raise StartError(f"the storage {self.url} cannot be used: {said_by(error.__cause__)}") from error
            log.error("the storage %s does not answer yet", self.url)
            return
        if not heeds_conditions:
            raise StartError(f"the storage {self.url} ignores If-None-Match, without which no file is safe")

    def _refuses_second(self, key: str) -> bool:
        for _ in range(2):
            try:
                self.create(key, b"")
            except FileExistsError:  # already the first time if it was sent twice, because an answer was lost
                return True
        return False

    def problem(self) -> Problem | None:
        """Return why the store cannot be used, or None. Asks it if that is not known."""
        if time.monotonic() > self._known_until and self._probing.acquire(blocking=False):
            try:
                with self._told(writing=True):
                    obstore.put(self._hasty, "probe", b"")
            except OSError:
                pass  # it is noted
            finally:
                self._probing.release()
        return self._problem

    @property
    def known_problem(self) -> Problem | None:
        """What `problem` found the last time."""
        return self._problem

    @contextmanager
    def _told(self, *, writing: bool = False) -> Iterator[None]:
        """Turn obstore's errors into those of this class, and note whether the store works.

        `writing`: what is not there can only be the bucket, which is a failure.
        """
        try:
            yield
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
            self._note(None)
            raise FileExistsError("the object is there already, or was changed") from error
        except (exceptions.BaseError, OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and not writing:
                self._note(None)
                raise
            if no_room(error):  # for a copy, on this server's disk
                raise
            log.log(logging.DEBUG if self._problem else logging.WARNING, "the storage failed: %s", said_by(error))
            refused = isinstance(error, REFUSED)
            self._note("The storage refuses the server's credentials" if refused else "The storage does not answer")
            raise StorageFailure from error
        self._note(None)

    def _note(self, words: str | None) -> None:
        if words is None and self._problem is not None:
            log.warning("the storage answers again")
        self._problem = Problem(words, ErrorCode.STORAGE_UNAVAILABLE) if words else None
        self._known_until = time.monotonic() + (FAULTY_S if words else FINE_S)

    def put(self, key: str, data: bytes | Path, attributes: Mapping[str, str] | None = None) -> None:
        """Write an object whole, in parts if it is large. It replaces one that is there."""
        given = dict(attributes) if attributes and self.can_sign else None  # folders have no room for them
        with self._told(writing=True):
            obstore.put(self._calm, key, data, attributes=given, max_concurrency=PARTS_AT_ONCE)

    def create(self, key: str, data: bytes) -> None:
        """Write an object. Raises `FileExistsError` if it is there."""
        with self._told(writing=True):
            obstore.put(self._store, key, data, mode="create", use_multipart=False)

    def replace(self, key: str, data: bytes, version: str | None) -> None:
        """Write an object that `read` found in that version. Raises `FileExistsError` if it was changed since."""
        with self._told():
            mode: Any = {"e_tag": version} if self.can_sign else "overwrite"  # a folder has one server
            obstore.put(self._store, key, data, mode=mode, use_multipart=False)

    def read(self, key: str) -> tuple[bytes, str | None]:
        """Return a small object, and its version."""
        with self._told():
            found = obstore.get(self._store, key)
            return bytes(found.bytes()), found.meta["e_tag"]

    def exists(self, key: str) -> bool:
        """Whether an object is there."""
        try:
            with self._told():
                obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file."""
        with self._told():
            found = obstore.get(self._calm, key)  # no file is made for what is not there
            with target.open("wb") as file:
                for chunk in found.stream(min_chunk_size=CHUNK):
                    file.write(chunk)

    def keys(self, prefix: str) -> dict[str, datetime]:
        """Return the keys below a prefix, with the times at which the objects were written."""
        with self._told():
            pages = obstore.list(self._store, prefix, chunk_size=1000)
            return {one["path"]: one["last_modified"] for page in pages for one in page}

    def folders(self, prefix: str) -> list[str]:
        """Return what comes after the prefix, up to the next slash, in all keys that have one."""
        with self._told():
            found = obstore.list_with_delimiter(self._store, prefix)["common_prefixes"]
            return [one.rstrip("/").rpartition("/")[2] for one in found]

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects. Those that are not there are no error."""
        for batch in [list(keys)] if self.can_sign else [[key] for key in keys]:
            with self._told():
                try:
                    if batch:
                        obstore.delete(self._store, batch)
                except FileNotFoundError:
                    pass

    def sign(self, key: str, seconds: float) -> str:
        """Return an address at which anybody gets an object for that time. Does not ask the store."""
        return obstore.sign(cast("S3Store", self._calm), "GET", key, timedelta(seconds=seconds))

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield an object's bytes from `start` to before `end`."""
        with self._told():
            found = await obstore.get_async(self._calm, key, options={"range": (start, end)})
            async for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)


class RemoteVideo:
    """Implements `OpenVideo` for an object."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self.size = size
        self._bucket, self._key = bucket, key
        self._position, self._buffer = 0, bytearray()
        self._stream: AsyncIterator[bytes] | None = None
        self._begun = False

    async def seek(self, offset: int) -> object:
        """See `OpenVideo.seek`."""
        self._position, self._stream = offset, None
        self._buffer.clear()
        return offset

    async def read(self, size: int) -> bytes:
        """See `OpenVideo.read`. Asks for the rest of the object, or for no more than `size` if that is little."""
        wanted = min(size, self.size - self._position)
        end = self.size if size >= CHUNK else self._position + wanted
        while len(self._buffer) < wanted:
            self._buffer += await self._next(end)
        data = bytes(self._buffer[:wanted])
        del self._buffer[:wanted]
        self._position += wanted
        return data

    async def _next(self, end: int) -> bytes:
        """Once there is a first byte, a store that fails is waited for: the client cannot be told any more."""
        for pause in (*(PAUSES_S if self._begun else ()), None):
            try:
                if self._stream is None:
                    start = self._position + len(self._buffer)
                    self._stream = self._bucket.stream(self._key, start, end)
                chunk = await anext(self._stream)
            except (StorageFailure, StopAsyncIteration):
                self._stream = None
                if pause is None:
                    raise StorageFailure from None
                await asyncio.sleep(pause)
            else:
                self._begun = True
                return chunk
        raise AssertionError("the last pause is None")

    def close(self) -> None:
        """See `OpenVideo.close`."""
        self._stream = None

    def address(self, seconds: float) -> str | None:
        """See `OpenVideo.address`."""
        return self._bucket.sign(self._key, seconds) if self._bucket.can_sign else None


def patiently(action: Callable[[], T], seconds: float, stopping: threading.Event) -> T:
    """Do something, again after growing pauses while the storage fails, for so long or until the server stops.

    Raises `StorageFailure`. Blocking.
    """
    pause, until = 0.5, time.monotonic() + seconds
    while True:
        try:
            return action()
        except StorageFailure:
            if time.monotonic() + pause > until or stopping.wait(pause):
                raise
            pause = min(2 * pause, 10.0)
