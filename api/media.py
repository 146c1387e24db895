"""Verbs and paths of what is found in files: before a task begins, and in its finished video. No logic here."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from starlette.concurrency import run_in_threadpool

from api.preflight import Preflight, PreflightForm, PreflightFound
from api.receipts import Receipt, Receipts, poster_of
from api.routes import (
    DAMAGED,
    MALFORMED,
    NO_ENGINE,
    NOT_COMPLETED,
    NOT_FOUND,
    OUT_OF_RANGE,
    STOPPING,
    TIMED_OUT,
    TOO_LARGE,
    WRONG_TYPE,
    KeyRoute,
    Owner,
    Service,
    UploadRoute,
    documented,
)
from api.settings import Settings
from api.verification import Verification, Verified, VideoForm

NO_VIDEO = {"error": "The file is not an MP4 video", "detail": "Send an MP4, as this service makes them."}
VIDEO_TOO_LARGE = {"error": "video is too large", "detail": "Allowed: video at most 500 MB."}
BUSY = {"error": "Too many uploads at the same time", "detail": "At most 128 are taken."}
NO_FILE = {"error": "Neither image nor audio was sent", "detail": "Send one of them, or both."}


class VideoRoute(UploadRoute):
    """Takes a video."""

    @staticmethod
    def limits(settings: Settings) -> dict[str, int]:
        """Largest size in bytes by file field."""
        return {"video": settings.max_video_bytes}


uploads = APIRouter(prefix="/api", route_class=UploadRoute)
videos = APIRouter(prefix="/api", route_class=VideoRoute)
tasks = APIRouter(prefix="/api", route_class=KeyRoute)


async def preflight_of(request: Request) -> Preflight:
    """What `create_app` made."""
    preflight: Preflight = request.app.state.preflight
    return preflight


async def receipts_of(request: Request) -> Receipts:
    """What `create_app` made."""
    receipts: Receipts = request.app.state.receipts
    return receipts


async def verification_of(request: Request) -> Verification:
    """What `create_app` made."""
    verification: Verification = request.app.state.verification
    return verification


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
            408: {"too slow": TIMED_OUT},
            413: {"file too large": TOO_LARGE},
            422: {"malformed form": MALFORMED},
            503: {"too many uploads": BUSY, "shutting down": STOPPING},
        }
    ),
)
async def preflight(
    form: Annotated[PreflightForm, Form(media_type="multipart/form-data")],
    preflight: Annotated[Preflight, Depends(preflight_of)],
) -> PreflightFound:
    """Looks at an image, at audio or at both, keeps nothing and starts no task: which faces there are and what will be
    cut out, how loud and clear the speech is, and what could be better.
    """
    return await preflight.look(form)


@videos.post(
    "/v1/verify",
    summary="Which labels a video carries, and whether it was made here",
    tags=["Synthesis"],
    responses=documented(
        {
            400: {"not an MP4": NO_VIDEO},
            408: {"too slow": TIMED_OUT},
            413: {"file too large": VIDEO_TOO_LARGE},
            422: {"malformed form": MALFORMED},
            503: {"too many uploads": BUSY, "shutting down": STOPPING},
        }
    ),
)
async def verify(
    form: Annotated[VideoForm, Form(media_type="multipart/form-data")],
    verification: Annotated[Verification, Depends(verification_of)],
) -> Verified:
    """Looks at an MP4 from anywhere and keeps nothing. A file without labels may be synthetic all the same: encoding it
    anew removes all that is not in the picture.
    """
    return await verification.look(form)


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
def get_poster(task_id: str, synthesis: Service, owner: Owner) -> Response:
    """For a list of videos, or to show before one is played."""
    render = synthesis.completed(task_id, owner).render
    return Response(poster_of(synthesis.folder(render.id)), media_type="image/jpeg")


@tasks.get(
    "/v1/synthesis/{task_id}/receipt",
    summary="What the finished video was made of, and how good it is",
    tags=["Synthesis"],
    responses=documented({400: {"not completed": NOT_COMPLETED}, 404: {"unknown or removed task": NOT_FOUND}}),
)
async def get_receipt(
    task_id: str, synthesis: Service, owner: Owner, receipts: Annotated[Receipts, Depends(receipts_of)]
) -> Receipt:
    """The first call has the video looked at, for some ten seconds; `measured` is null where that takes longer."""
    return await receipts.of(await run_in_threadpool(synthesis.completed, task_id, owner))
