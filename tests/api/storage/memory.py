"""Storage that keeps files in memory, as an object store would: paths are copies that exist while they are needed."""

import hashlib
import io
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from api.storage.files import Attempt, Kept, RenderPaths, Upload


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

    def problem(self) -> str | None:
        return "The store is full" if self.full else None

    def clean_up(self, known: Collection[str], unfinished: Collection[str]) -> None:
        self.objects = {
            (render_id, name): data
            for (render_id, name), data in self.objects.items()
            if render_id in known and (name != "state" or render_id in unfinished)
        }

    @contextmanager
    def staging(self) -> Iterator[Path]:
        folder = self._scratch()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def upload(self, folder: Path, image_hash: str, audio_hash: str) -> Upload:
        return Upload(folder, folder / "image", folder / "audio", image_hash, audio_hash)

    def stage_again(self, render_id: str, folder: Path) -> Upload:
        paths = [self._fetch(render_id, name, folder) for name in ("image", "audio")]
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
        return self.upload(folder, *hashes)

    def accept(self, upload: Upload, render_id: str) -> None:
        for name, path in (("image", upload.image), ("audio", upload.audio)):
            self.objects[render_id, name] = path.read_bytes()
        shutil.rmtree(upload.folder)

    def begin(self, render_id: str) -> Attempt:
        folder = self._scratch()
        image, audio = (self._fetch(render_id, name, folder) for name in ("image", "audio"))
        return Attempt(render_id, image, audio, folder / "video", self._folder / f"{render_id}.state")

    def commit(self, attempt: Attempt) -> str:
        data = attempt.output.read_bytes()
        self.objects[attempt.render_id, "video"] = data
        return hashlib.sha256(data).hexdigest()

    def abandon(self, attempt: Attempt) -> None:
        shutil.rmtree(attempt.output.parent, ignore_errors=True)

    def drop_state(self, render_id: str) -> None:
        (self._folder / f"{render_id}.state").unlink(missing_ok=True)

    def drop_video(self, render_id: str) -> None:
        self.objects.pop((render_id, "video"), None)

    def has_video(self, render_id: str) -> bool:
        return (render_id, "video") in self.objects

    def open_video(self, render_id: str) -> BinaryIO:
        if not self.has_video(render_id):
            raise FileNotFoundError
        return io.BytesIO(self.objects[render_id, "video"])

    @contextmanager
    def paths(self, render_id: str) -> Iterator[RenderPaths]:
        with self.staging() as folder:
            yield RenderPaths(*(self._fetch(render_id, name, folder) for name in ("image", "audio", "video")))

    def load(self, render_id: str, kept: Kept) -> bytes | None:
        return self.objects.get((render_id, kept))

    def keep(self, render_id: str, kept: Kept, data: bytes) -> None:
        self.objects[render_id, kept] = data

    def remove(self, render_id: str) -> bool:
        self.objects = {key: data for key, data in self.objects.items() if key[0] != render_id}
        self.drop_state(render_id)
        return True
