"""Staging folders for async code."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from api.storage.files import RenderFiles


@asynccontextmanager
async def staging(files: RenderFiles) -> AsyncIterator[Path]:
    """See `RenderFiles.staging`. The folder is removed even if the caller is cancelled meanwhile."""
    context = files.staging()
    folder = await asyncio.to_thread(context.__enter__)
    try:
        yield folder
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)  # the thread goes on if this is cancelled
