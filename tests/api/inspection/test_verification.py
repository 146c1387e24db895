"""Whether a video was made here, and what it carries."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from api.inspection.children import Children
from api.inspection.verification import Verification
from api.tasks.model import TaskStatus
from api.tasks.store import TaskStore
from dice_talk.errors import DiceTalkError
from tests.api.inspection.test_posters import write_video
from tests.api.made import NOW, make_task


def verify(store: TaskStore, video: Path, sha256: str) -> Any:
    async def scenario() -> Any:
        children = Children()
        try:
            return await Verification(store, children).verify(video, sha256, video.stat().st_size)
        finally:
            await children.close()

    return asyncio.run(scenario())


def test_a_video_of_ours_and_one_of_others(store: TaskStore, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    write_video(video)
    store.add(make_task())
    store.update("a", TaskStatus.PROCESSING)
    store.update("a", TaskStatus.COMPLETED, sha256="ours", finished_at=NOW)
    ours, theirs = (verify(store, video, sha256) for sha256 in ("ours", "theirs"))
    assert (ours.sha256, ours.bytes, ours.made_here, ours.made_at) == ("ours", video.stat().st_size, True, NOW)
    assert (theirs.made_here, theirs.made_at) == (False, None)
    assert ours.labels == theirs.labels


def test_a_file_that_is_no_video(store: TaskStore, tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(b"no video")
    with pytest.raises(DiceTalkError, match="The file is not an MP4 video"):
        verify(store, tmp_path / "video", "hash")


def test_a_video_that_takes_too_much(store: TaskStore, tmp_path: Path) -> None:
    class Tired(Children):
        async def ask(self, module: str, *arguments: str, seconds: float) -> dict[str, Any]:
            return {}

    with pytest.raises(DiceTalkError, match="The video can't be read"):
        asyncio.run(Verification(store, Tired()).verify(tmp_path, "hash", 1))
