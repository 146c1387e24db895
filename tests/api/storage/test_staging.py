"""Staging folders in async code: they go, whatever becomes of the task."""

import asyncio
from pathlib import Path

import pytest

from api.storage.files import Upload
from api.storage.local import LocalFiles
from api.storage.staging import staging


def test_the_folder_is_there_inside_only(files: LocalFiles) -> None:
    async def use() -> Path:
        async with staging(files) as folder:
            (folder / "image").write_bytes(b"data")
            return folder

    assert not asyncio.run(use()).exists()


def test_the_folder_goes_after_an_error(files: LocalFiles) -> None:
    seen = []

    async def use() -> None:
        async with staging(files) as folder:
            seen.append(folder)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(use())
    assert not seen[0].exists()


def test_the_folder_goes_when_the_task_is_cancelled(files: LocalFiles) -> None:
    async def use(folders: list[Path]) -> None:
        async with staging(files) as folder:
            folders.append(folder)
            await asyncio.sleep(600)

    async def cancel() -> Path:
        folders: list[Path] = []
        task = asyncio.create_task(use(folders))
        while not folders:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return folders[0]

    assert not asyncio.run(cancel()).exists()


def test_an_accepted_upload_is_left_alone(files: LocalFiles) -> None:
    async def use() -> None:
        async with staging(files) as folder:
            (folder / "image").write_bytes(b"data")
            files.accept(Upload(folder, folder / "image", folder / "audio", "", ""), "a")

    asyncio.run(use())
    assert files.begin("a").image.read_bytes() == b"data"
