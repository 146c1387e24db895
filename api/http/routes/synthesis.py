"""Routes of the API document: start a task, ask for its status, download its video. No logic here."""

from typing import Annotated

from fastapi import APIRouter, Form, Header, Request, Response
from fastapi.responses import FileResponse
from starlette.datastructures import FormData

from api.errors import TaskNotFound
from api.http.downloads import REDIRECT_S, OpenedFile, SentOn, may_redirect
from api.http.forms import RenderForm
from api.http.preconditions import conditional
from api.http.routes.base import AllServices, KeyRoute, Owner, Service, UploadRoute
from api.http.routes.examples import (
    ANOTHER_VERSION,
    BEYOND,
    CALLBACK,
    DAMAGED,
    KEY_USED,
    LABELLED,
    NO_ENGINE,
    NOT_COMPLETED,
    NOT_FOUND,
    OUT_OF_RANGE,
    QUEUE_FULL,
    TOO_LARGE,
    UPLOAD_ERRORS,
    WRONG_TYPE,
    documented,
)
from api.schemas.options import MAY_BE_EMPTY
from api.schemas.tasks import SynthesisEnded, TaskCreated, TaskState
from api.service.admission import Admission
from dice_talk.options import preset_values

IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=255,
        pattern="^[!-~]([ -~]*[!-~])?$",
        description="Any text of your own: the same request sent again with it gives the same task, not a second one.",
        examples=["0b7c3c1e-order-17"],
    ),
]


class StartRoute(UploadRoute):
    """Reads the form that starts a task."""

    async def before_form(self, request: Request, admission: Admission) -> None:
        """Refuse also requests that cannot get a place in the queue."""
        await admission.refuse_before_upload(request.state.owner, request.headers.get("idempotency-key"))

    @staticmethod
    def complete(form: FormData) -> FormData:
        """Return the form with the options that its preset stands for. An empty field is not given."""
        given = {name: value for name, value in form.items() if value != "" or name not in MAY_BE_EMPTY}
        added = preset_values(form.get("preset"), given)
        return FormData({**given, **{name: str(value) for name, value in added.items()}}) if added else form


uploads = APIRouter(prefix="/api", route_class=StartRoute)
tasks = APIRouter(prefix="/api", route_class=KeyRoute)
callbacks = APIRouter()


@uploads.post(
    "/v1/synthesis/start",
    summary="Start a talking-head task",
    tags=["Synthesis"],
    responses=documented(
        {
            400: {
                "wrong file type": WRONG_TYPE,
                "damaged file": DAMAGED,
                "out of range": OUT_OF_RANGE,
                "engine not there": NO_ENGINE,
                "callback not allowed": CALLBACK,
                "label is not optional": LABELLED,
            },
            409: {"another request": KEY_USED},
            413: {"file too large": TOO_LARGE},
            503: {"queue full": QUEUE_FULL},
        },
        UPLOAD_ERRORS,
    ),
)
async def start(
    form: Annotated[RenderForm, Form(media_type="multipart/form-data")],
    services: AllServices,
    owner: Owner,
    idempotency_key: IdempotencyKey = None,
) -> TaskCreated:
    """Checks the files, stores the task and answers at once. Rendering goes on in the background."""
    return await services.admission.start(form.upload(), form, owner, idempotency_key)


@callbacks.post(
    "synthesis-ended",
    summary="What is sent to callback_url",
    tags=["Synthesis"],
    status_code=204,
    response_description="Any 2xx: delivered. 410: not wanted. All else, redirects too: it is tried again, for a day.",
)
def tell_end(
    ended: SynthesisEnded,
    webhook_id: Annotated[str, Header(description="The task's id; the same each time the callback is tried.")],
    webhook_timestamp: Annotated[int, Header(description="When it was sent: seconds since 1970.")],
    webhook_signature: Annotated[str, Header(description="v1, and the HMAC-SHA256 of id.timestamp.body in base64.")],
) -> None:
    """Sent at least once when the task is COMPLETED or FAILED, signed as standardwebhooks.com specifies."""


@tasks.get(
    "/v1/synthesis/{task_id}/status",
    summary="Get the status of a task",
    tags=["Synthesis"],
    responses=documented({404: {"unknown or removed task": NOT_FOUND}}),
)
async def get_status(task_id: str, synthesis: Service, owner: Owner) -> TaskState:
    """Ask every few seconds until `status` is COMPLETED or FAILED."""
    return await synthesis.status(task_id, owner)


@tasks.get(
    "/v1/synthesis/{task_id}/download",
    summary="Download the finished video",
    tags=["Synthesis"],
    response_class=FileResponse,
    responses={
        200: {
            "description": "The video.",
            "content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}},
        },
        206: {"description": "The part asked for with Range."},
        304: {"description": "Not changed since the last download."},
        307: {"description": "With the setting download_redirect: where the video is, for the next five minutes."},
        **documented(
            {
                400: {"not completed": NOT_COMPLETED},
                404: {"unknown or removed task": NOT_FOUND},
                412: {"another version": ANOTHER_VERSION},
                416: {"range beyond the file": BEYOND},
            }
        ),
    },
)
def download(task_id: str, request: Request, services: AllServices, owner: Owner) -> Response:
    """Supports Range and conditional requests."""
    task = services.synthesis.completed(task_id, owner)
    modified = task.finished_at or task.created_at  # the file may have been made for an earlier task
    try:
        file = services.files.open_video(task.render.id)
    except FileNotFoundError as error:  # removed meanwhile
        raise TaskNotFound from error
    video = OpenedFile(file, media_type="video/mp4", filename="result.mp4", name=task.id, modified=modified)
    response: Response | None = None
    try:
        response = conditional(video, request.headers)
        if response is video and services.settings.download_redirect and may_redirect(request):
            address = file.address(REDIRECT_S)
            response = SentOn(address) if address else video
    finally:
        if response is not video:
            video.close()
    return response
