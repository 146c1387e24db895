"""Routes that inspect files: before a task begins, and in finished videos. No logic here."""

from typing import Annotated

from fastapi import APIRouter, Form, Response
from starlette.concurrency import run_in_threadpool

from api.http.forms import PreflightForm, VideoForm, stored
from api.http.routes.base import AllServices, KeyRoute, Owner, UploadRoute
from api.http.routes.examples import (
    DAMAGED,
    NO_ENGINE,
    NO_FILE,
    NO_VIDEO,
    NOT_COMPLETED,
    NOT_FOUND,
    OUT_OF_RANGE,
    TOO_LARGE,
    UPLOAD_ERRORS,
    VIDEO_TOO_LARGE,
    WRONG_TYPE,
    documented,
)
from api.inspection.posters import poster_of
from api.schemas.labels import Verified
from api.schemas.preflight import PreflightFound
from api.schemas.receipt import Receipt
from api.settings import Settings


class VideoRoute(UploadRoute):
    """Reads a form with a video."""

    @staticmethod
    def limits(settings: Settings) -> dict[str, int]:
        """Return the largest size in bytes by file field."""
        return {"video": settings.max_video_bytes}


uploads = APIRouter(prefix="/api", route_class=UploadRoute)
videos = APIRouter(prefix="/api", route_class=VideoRoute)
tasks = APIRouter(prefix="/api", route_class=KeyRoute)


@uploads.post(
    "/v1/preflight",
    summary="What would become of a portrait and a recording",
    tags=["Synthesis"],
    responses=documented(
        {
            400: {
                "wrong file type": WRONG_TYPE,
                "damaged file": DAMAGED,
                "out of range": OUT_OF_RANGE,
                "engine not there": NO_ENGINE,
                "no file": NO_FILE,
            },
            413: {"file too large": TOO_LARGE},
        },
        UPLOAD_ERRORS,
    ),
)
async def preflight(
    form: Annotated[PreflightForm, Form(media_type="multipart/form-data")],
    services: AllServices,
) -> PreflightFound:
    """Inspects an image, an audio file or both, without keeping them or starting a task: which faces there are, what
    would be cropped, how loud and clear the speech is, and what could be better.
    """
    image, audio = form.paths()
    return await services.preflight.inspect(image, audio, form.engine, form.options())


@videos.post(
    "/v1/verify",
    summary="Which labels a video carries, and whether it was made here",
    tags=["Synthesis"],
    responses=documented(
        {
            400: {"not an MP4": NO_VIDEO},
            413: {"file too large": VIDEO_TOO_LARGE},
        },
        UPLOAD_ERRORS,
    ),
)
async def verify(
    form: Annotated[VideoForm, Form(media_type="multipart/form-data")],
    services: AllServices,
) -> Verified:
    """Inspects an MP4 from anywhere, without keeping it. A file without labels may be synthetic all the same: encoding
    a video anew removes every label that is not in the picture.
    """
    video = stored(form.video)
    return await services.verification.verify(video.path, video.sha256, video.size or 0)


@tasks.get(
    "/v1/synthesis/{task_id}/receipt",
    summary="What the finished video was made of, and how good it is",
    tags=["Synthesis"],
    responses=documented({400: {"not completed": NOT_COMPLETED}, 404: {"unknown or removed task": NOT_FOUND}}),
)
async def get_receipt(task_id: str, services: AllServices, owner: Owner) -> Receipt:
    """The first call has the video measured, which takes about ten seconds; `measured` is null until that is done."""
    task = await run_in_threadpool(services.synthesis.completed, task_id, owner)
    return await services.receipts.write(task)


@tasks.get(
    "/v1/synthesis/{task_id}/poster",
    summary="A picture of the finished video",
    tags=["Synthesis"],
    response_class=Response,
    responses={
        200: {
            "description": "The frame in the middle, at the video's size.",
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        },
        **documented({400: {"not completed": NOT_COMPLETED}, 404: {"unknown or removed task": NOT_FOUND}}),
    },
)
def get_poster(task_id: str, services: AllServices, owner: Owner) -> Response:
    """For lists of videos, or to show before a video is played."""
    render = services.synthesis.completed(task_id, owner).render
    return Response(poster_of(services.files, render.id), media_type="image/jpeg")
