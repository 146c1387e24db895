"""Storage that keeps files in memory, as an object store would: paths are copies that exist while they are needed."""

import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from api.storage.files import Attempt, Kept, Problem, RenderPaths, Staging, Upload, Workspace
from dice_talk.error_codes import ErrorCode


class MemoryStaging:
    """Implements `Staging`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, field: str) -> Path:
        return self._folder / f"field {field}"

    def upload(self, image_hash: str, audio_hash: str) -> Upload:
        return Upload(self.path("image"), self.path("audio"), image_hash, audio_hash)


class MemoryVideo:
    """Implements `OpenVideo`."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data, self._position = data, 0

    async def seek(self, offset: int) -> object:
        self._position = offset
        return offset

    async def read(self, size: int) -> bytes:
        data = self._data[self._position : self._position + size]
        self._position += len(data)
        return data

    def close(self) -> None:
        pass

    def address(self, seconds: float) -> str | None:
        return None


class MemoryFiles:
    """Implements `RenderFiles`."""

    def __init__(self, folder: Path) -> None:
        """`folder`: for copies. Nothing in it has to survive."""
        self.objects: dict[tuple[str, str], bytes] = {}
        self.full = False
        self._folder = folder

    def _scratch(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))

    def _fetch(self, render_id: str, name: str, folder: Path) -> Path:
        path = folder / name
        if (render_id, name) in self.objects:
            path.write_bytes(self.objects[render_id, name])
        return path

    def problem(self) -> Problem | None:
        return Problem("The store is full", ErrorCode.DISK_FULL) if self.full else None

    def stop_waiting(self) -> None:
        pass

    def clean_up(self, known: Set[str], unfinished: Collection[str]) -> None:
        self.objects = {
            (render_id, name): data
            for (render_id, name), data in self.objects.items()
            if render_id in known and (name != "state" or render_id in unfinished)
        }

    @contextmanager
    def staging(self) -> Iterator["MemoryStaging"]:
        folder = self._scratch()
        try:
            yield MemoryStaging(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def stage_again(self, render_id: str, staging: Staging) -> Upload:
        hashes = []
        for name in ("image", "audio"):
            if (render_id, name) not in self.objects:
                raise FileNotFoundError(name)
            staging.path(name).write_bytes(self.objects[render_id, name])
            hashes.append(hashlib.sha256(self.objects[render_id, name]).hexdigest())
        return staging.upload(*hashes)

    def send(self, upload: Upload, render_id: str) -> None:
        pass

    def accept(self, upload: Upload, render_id: str) -> None:
        for name, path in (("image", upload.image), ("audio", upload.audio)):
            self.objects[render_id, name] = path.read_bytes()
            path.unlink()

    def begin(self, render_id: str) -> Attempt:
        return Attempt(render_id, secrets.token_hex(8))

    @contextmanager
    def workspace(self, attempt: Attempt) -> Iterator[Workspace]:
        folder, render_id = self._scratch(), attempt.render_id
        image, audio, state = (self._fetch(render_id, name, folder) for name in ("image", "audio", "state"))
        work = Workspace(image, audio, folder / "output", state)
        try:
            yield work
        finally:
            for path, key in ((work.output, attempt.token), (work.state, "state")):
                if path.exists():
                    self.objects[render_id, key] = path.read_bytes()
            shutil.rmtree(folder)

    def commit(self, attempt: Attempt) -> str:
        data = self.objects.pop((attempt.render_id, attempt.token), None)
        if data is None:
            raise FileNotFoundError(attempt.token)
        self.objects[attempt.render_id, "video"] = data
        return hashlib.sha256(data).hexdigest()

    def abandon(self, attempt: Attempt) -> None:
        self.objects.pop((attempt.render_id, attempt.token), None)

    def drop_state(self, render_id: str) -> None:
        self.objects.pop((render_id, "state"), None)

    def drop_video(self, render_id: str) -> None:
        self.objects.pop((render_id, "video"), None)

    def has_video(self, render_id: str) -> bool:
        return (render_id, "video") in self.objects

    def open_video(self, render_id: str) -> MemoryVideo:
        if not self.has_video(render_id):
            raise FileNotFoundError
        return MemoryVideo(self.objects[render_id, "video"])

    @contextmanager
    def paths(self, render_id: str) -> Iterator[RenderPaths]:
        folder = self._scratch()
        try:
            yield RenderPaths(*(self._fetch(render_id, name, folder) for name in ("image", "audio", "video")))
        finally:
            shutil.rmtree(folder)

    def load(self, render_id: str, kept: Kept) -> bytes | None:
        return self.objects.get((render_id, kept))

    def keep(self, render_id: str, kept: Kept, data: bytes) -> None:
        self.objects[render_id, kept] = data

    def remove(self, *render_ids: str) -> list[str]:
        self.objects = {key: data for key, data in self.objects.items() if key[0] not in render_ids}
        return list(render_ids)
