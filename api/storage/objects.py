"""Files in an object store that several servers may share.

A render is a prefix. Its inputs count once `input.json` is there, which is written last. Each attempt has an output of
its own, and `video.json` says which one is the video: it is written under a condition, and tokens of attempts grow, so
an attempt that comes late never replaces the video of a later one.
"""

import json
import logging
import secrets
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from api.settings import MEGABYTE, Settings, StartError
from api.storage.bucket import Bucket, RemoteVideo, patiently
from api.storage.files import Attempt, Kept, Problem, RenderPaths, Staging, StorageFailure, Upload, Workspace
from api.storage.hashing import sha256_of
from api.storage.local import KEPT, LocalStaging, disk_problem, scratch_folder

log = logging.getLogger(__name__)

T = TypeVar("T")

RENDERS = "renders"
IMAGE, AUDIO, OUTPUT, STATE = "image", "audio", "output", "state"
INPUT, VIDEO = "input.json", "video.json"
SENT_AS = {"Content-Type": "video/mp4", "Content-Disposition": 'attachment; filename="result.mp4"'}
"""What the store says with a video that it gives out itself."""
FETCH_S, SEND_S = 30.0, 600.0
"""How long a slot waits for a store that fails: for inputs, which can be fetched another time, and with a video, which
would have to be rendered again."""
STATE_EVERY_S = 5.0
"""How often a saved state is looked for. The diffusion engine saves one every half a minute."""
ORPHAN_AGE = timedelta(hours=1)
"""What is younger may belong to a task that another server is about to store."""
AT_ONCE, PAGE = 16, 1000
"""Renders that are removed at the same time, and that are looked up together."""
LEFT = "left-"
"""Begins the name of a folder with what an earlier run left behind."""


class ObjectFiles:
    """Implements `RenderFiles`. What FFmpeg reads or writes lies below a folder of the server for as long as needed."""

    def __init__(
        self,
        bucket: Bucket,
        folder: Path,
        *,
        min_free: float = 0,
        keep_unknown: bool = False,
        spared: timedelta = ORPHAN_AGE,
    ) -> None:
        """`folder`: holds uploads and copies. `min_free`: bytes. `keep_unknown`: whether an empty database is no reason
        to remove anything. `spared`: age up to which files that no task refers to are kept.
        """
        self._bucket, self._folder = bucket, folder
        self._incoming, self._scratch = folder / "incoming", folder / "scratch"
        self._min_free, self._keep_unknown, self._spared = min_free, keep_unknown, spared
        self._sent: set[str] = set()  # ids of renders whose inputs are in the store already
        self._committed: set[str] = set()  # tokens of attempts that are not abandoned yet
        self._last_token = 0
        self._stopping = threading.Event()
        for left in (self._incoming, self._scratch):  # now, because `clean_up` may run beside the first uploads
            with suppress(FileNotFoundError):
                left.rename(folder / f"{LEFT}{uuid.uuid4().hex}")

    @classmethod
    def at(cls, url: str, settings: Settings) -> "ObjectFiles":
        """Return the storage at an address, for a service with these settings. Raises `StartError`."""
        bucket = Bucket(url)
        if settings.download_redirect and not bucket.can_sign:
            raise StartError("download_redirect needs a storage_url of a store that signs addresses, not of a folder")
        bucket.check()
        named = settings.database_url is not None
        return cls(bucket, settings.data_dir, min_free=settings.min_free_mb * MEGABYTE, keep_unknown=named)

    def problem(self) -> Problem | None:
        """See `RenderFiles.problem`."""
        return disk_problem(self._folder, self._min_free) or self._bucket.problem()

    def stop_waiting(self) -> None:
        """See `RenderFiles.stop_waiting`."""
        self._stopping.set()

    def clean_up(self, known: Set[str], unfinished: Collection[str]) -> None:
        """See `RenderFiles.clean_up`. Saved states and outputs that were cut off go with their renders."""
        for folder in self._folder.glob(f"{LEFT}*"):
            shutil.rmtree(folder, ignore_errors=True)
        if not known and self._keep_unknown:
            return
        try:
            self._remove_unknown(known)
        except StorageFailure:
            log.warning("files of unknown tasks were not looked for; the next start does so")

    def _remove_unknown(self, known: Set[str]) -> None:
        found = self._bucket.folders(f"{RENDERS}/")
        for start in range(0, len(found), PAGE):
            page = set(found[start : start + PAGE])
            for render_id in page - (page & known):
                if self._stopping.is_set():
                    return
                objects = self._bucket.keys(_key(render_id, ""))
                if objects and max(objects.values()) < datetime.now(UTC) - self._spared:
                    log.warning("removing %s: no task refers to it", render_id)
                    self._bucket.delete(objects)

    @contextmanager
    def staging(self) -> Iterator[Staging]:
        """See `RenderFiles.staging`. A folder of this server, because inspections need files."""
        with scratch_folder(self._incoming) as folder:
            yield LocalStaging(folder)

    def stage_again(self, render_id: str, staging: Staging) -> Upload:
        """See `RenderFiles.stage_again`."""
        hashes = json.loads(self._bucket.read(_key(render_id, INPUT))[0])
        for name in (IMAGE, AUDIO):
            self._bucket.download(_key(render_id, name), staging.path(name))
        return staging.upload(hashes[IMAGE], hashes[AUDIO])

    def send(self, upload: Upload, render_id: str) -> None:
        """See `RenderFiles.send`."""
        with ThreadPoolExecutor(1) as pool:  # beside this thread
            sending = pool.submit(self._bucket.put, _key(render_id, IMAGE), upload.image)
            self._bucket.put(_key(render_id, AUDIO), upload.audio)
            sending.result()
        self._sent.add(render_id)

    def accept(self, upload: Upload, render_id: str) -> None:
        """See `RenderFiles.accept`."""
        if render_id not in self._sent:
            self.send(upload, render_id)
        key, data = _key(render_id, INPUT), json.dumps({IMAGE: upload.image_hash, AUDIO: upload.audio_hash}).encode()
        try:
            self._bucket.create(key, data)
        except FileExistsError:  # an answer was lost, and it was sent twice
            if self._bucket.read(key)[0] != data:
                raise
        self._sent.discard(render_id)
        for path in (upload.image, upload.audio):
            path.unlink()

    def begin(self, render_id: str) -> Attempt:
        """See `RenderFiles.begin`. Later attempts have greater tokens, by this server's clock."""
        self._stopping.clear()
        self._last_token = max(time.time_ns(), self._last_token + 1)
        return Attempt(render_id, f"{self._last_token:020}-{secrets.token_hex(4)}")

    @contextmanager
    def workspace(self, attempt: Attempt) -> Iterator[Workspace]:
        """See `RenderFiles.workspace`."""
        with scratch_folder(self._scratch) as folder:
            work = Workspace(*(folder / name for name in (IMAGE, AUDIO, OUTPUT, STATE)))
            wanted = {_key(attempt.render_id, name): folder / name for name in (IMAGE, AUDIO, STATE)}
            self._wait(lambda: self._fetch(wanted), FETCH_S)
            with self._keeping(work.state, _key(attempt.render_id, STATE)):
                yield work
            self._send_output(attempt, work.output)

    def _wait(self, action: Callable[[], T], seconds: float) -> T:
        return patiently(action, seconds, self._stopping)

    def _fetch(self, wanted: dict[str, Path]) -> None:
        """Copy objects to files, as far as they are there."""

        def fetch(key: str) -> None:
            try:
                self._bucket.download(key, wanted[key])
            except FileNotFoundError:
                wanted[key].unlink(missing_ok=True)

        with ThreadPoolExecutor(len(wanted)) as pool:
            list(pool.map(fetch, wanted))

    @contextmanager
    def _keeping(self, state: Path, key: str) -> Iterator[None]:
        """Take each new state to the store while the engine works: another machine may have to resume from it."""
        ended, kept = threading.Event(), _version(state)

        def keep() -> None:
            nonlocal kept
            if (found := _version(state)) not in (kept, None):
                with suppress(StorageFailure):  # the next time
                    self._bucket.put(key, state)
                    kept = found

        def keep_now_and_then() -> None:
            while not ended.wait(STATE_EVERY_S):
                keep()

        thread = threading.Thread(target=keep_now_and_then, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            keep()

    def _send_output(self, attempt: Attempt, output: Path) -> None:
        if not output.exists():
            return
        facts = {"token": attempt.token, "bytes": output.stat().st_size, "sha256": sha256_of(output)}
        self._wait(lambda: self._bucket.put(_output(attempt.render_id, attempt.token), output, SENT_AS), SEND_S)
        self._wait(lambda: self._bucket.put(_facts(attempt), json.dumps(facts).encode()), SEND_S)

    def commit(self, attempt: Attempt) -> str:
        """See `RenderFiles.commit`. Raises `FileExistsError` if a later attempt was committed before."""
        facts = self._wait(lambda: self._commit(attempt), SEND_S)
        self._committed.add(attempt.token)
        return str(facts["sha256"])

    def _commit(self, attempt: Attempt) -> dict[str, Any]:
        data, _ = self._bucket.read(_facts(attempt))
        if not self._bucket.exists(_key(attempt.render_id, INPUT)):
            raise FileNotFoundError(f"render {attempt.render_id} was removed")
        key = _key(attempt.render_id, VIDEO)
        try:
            self._bucket.create(key, data)
        except FileExistsError:
            found, version = self._bucket.read(key)
            token = json.loads(found)["token"]
            if token > attempt.token:
                raise
            if token < attempt.token:
                self._bucket.replace(key, data, version)
                self._forget(attempt.render_id, token)
        return dict(json.loads(data))

    def abandon(self, attempt: Attempt) -> None:
        """See `RenderFiles.abandon`."""
        if attempt.token in self._committed:
            self._committed.discard(attempt.token)
            return
        with suppress(StorageFailure):
            if self._video(attempt.render_id).get("token") != attempt.token:  # or the answer to its commit was lost
                self._forget(attempt.render_id, attempt.token)

    def _video(self, render_id: str) -> dict[str, Any]:
        """Return what is known of a render's video; {} if there is none."""
        try:
            return dict(json.loads(self._bucket.read(_key(render_id, VIDEO))[0]))
        except FileNotFoundError:
            return {}

    def _forget(self, render_id: str, token: str) -> None:
        self._remove_some(_facts(Attempt(render_id, token)), _output(render_id, token))

    def _remove_some(self, *keys: str) -> None:
        with suppress(StorageFailure):
            self._bucket.delete(keys)

    def drop_state(self, render_id: str) -> None:
        """See `RenderFiles.drop_state`."""
        self._remove_some(_key(render_id, STATE))

    def drop_video(self, render_id: str) -> None:
        """See `RenderFiles.drop_video`."""
        with suppress(StorageFailure):
            if video := self._video(render_id):
                self._bucket.delete([_key(render_id, VIDEO)])
                self._forget(render_id, video["token"])

    def has_video(self, render_id: str) -> bool:
        """See `RenderFiles.has_video`."""
        return self._bucket.exists(_key(render_id, VIDEO))

    def open_video(self, render_id: str) -> RemoteVideo:
        """See `RenderFiles.open_video`."""
        video = json.loads(self._bucket.read(_key(render_id, VIDEO))[0])
        return RemoteVideo(self._bucket, _output(render_id, video["token"]), video["bytes"])

    @contextmanager
    def paths(self, render_id: str) -> Iterator[RenderPaths]:
        """See `RenderFiles.paths`."""
        with scratch_folder(self._scratch) as folder:
            wanted = {_key(render_id, name): folder / name for name in (IMAGE, AUDIO)}
            if video := self._video(render_id):
                wanted[_output(render_id, video["token"])] = folder / OUTPUT
            self._fetch(wanted)
            yield RenderPaths(folder / IMAGE, folder / AUDIO, folder / OUTPUT)

    def load(self, render_id: str, kept: Kept) -> bytes | None:
        """See `RenderFiles.load`."""
        try:
            return self._bucket.read(_key(render_id, KEPT[kept]))[0]
        except FileNotFoundError:
            return None

    def keep(self, render_id: str, kept: Kept, data: bytes) -> None:
        """See `RenderFiles.keep`."""
        if not self._bucket.exists(_key(render_id, INPUT)):
            raise FileNotFoundError(f"render {render_id} was removed")
        self._bucket.put(_key(render_id, KEPT[kept]), data)

    def remove(self, *render_ids: str) -> list[str]:
        """See `RenderFiles.remove`. Takes no time while the store is known not to answer."""
        if not render_ids or self._bucket.known_problem:
            return []
        with ThreadPoolExecutor(min(AT_ONCE, len(render_ids))) as pool:
            gone = list(pool.map(self._remove, render_ids))
        return [one for one, is_gone in zip(render_ids, gone, strict=True) if is_gone]

    def _remove(self, render_id: str) -> bool:
        self._sent.discard(render_id)
        if self._bucket.known_problem:
            return False
        try:
            found = self._bucket.keys(_key(render_id, ""))
            first = [_key(render_id, name) for name in (INPUT, VIDEO) if _key(render_id, name) in found]
            self._bucket.delete(first)  # from here on, nothing can be committed
            self._bucket.delete(found.keys() - set(first))
        except StorageFailure:
            return False
        return True


def _key(render_id: str, name: str) -> str:
    return f"{RENDERS}/{render_id}/{name}"


def _output(render_id: str, token: str) -> str:
    return _key(render_id, f"{OUTPUT}/{token}.mp4")


def _facts(attempt: Attempt) -> str:
    return _key(attempt.render_id, f"{OUTPUT}/{attempt.token}.json")


def _version(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file does; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
