"""Verbs and paths of what is found in files: before a task begins, and in its finished video. No logic here."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from starlette.concurrency import run_in_threadpool

from api.preflight import Preflight, PreflightForm, PreflightFound
from api.receipts import Receipt, Receipts, poster_of
from api.routes import (
    DAMAGED,
    NO_ENGINE,
    NOT_COMPLETED,
    NOT_FOUND,
    OUT_OF_RANGE,
    QUEUE_FULL,
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

NO_FILE = {"error": "image or audio is required", "detail": "Send one of them, or both."}
TOO_BUSY = {"error": "Measuring the video took too long", "detail": "Try again when less is rendered."}
uploads = APIRouter(prefix="/api", route_class=UploadRoute)
tasks = APIRouter(prefix="/api", route_class=KeyRoute)


async def preflight_of(request: Request) -> Preflight:
    """What `create_app` made."""
    preflight: Preflight = request.app.state.preflight
    return preflight


async def receipts_of(request: Request) -> Receipts:
    """What `create_app` made."""
    receipts: Receipts = request.app.state.receipts
    return receipts


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
            },
            408: {"too slow": TIMED_OUT},
            413: {"file too large": TOO_LARGE},
            422: {"no file": NO_FILE},
            503: {"queue full": QUEUE_FULL, "shutting down": STOPPING},
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
    responses=documented(
        {
            400: {"not completed": NOT_COMPLETED},
            404: {"unknown or removed task": NOT_FOUND},
            503: {"too busy": TOO_BUSY},
        }
    ),
)
async def get_receipt(
    task_id: str, synthesis: Service, owner: Owner, receipts: Annotated[Receipts, Depends(receipts_of)]
) -> Receipt:
    """The first time, the video is looked at before there is an answer: some ten seconds, more while others render."""
    return await receipts.of(await run_in_threadpool(synthesis.completed, task_id, owner))
