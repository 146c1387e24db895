"""Verbs and paths to calls. No logic here."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Form, Header, Request, Response, Security
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from api import logs, pages
from api.access import HINT, Access
from api.errors import ErrorBody, TaskNotFound
from api.files import OpenedFile
from api.metrics import Metrics
from api.places import address, caller, client_of
from api.preconditions import conditional
from api.schemas import Alive, Health, Ready, RenderForm, SynthesisEnded, TaskCreated, TaskState
from api.service import Synthesis
from api.settings import Settings
from api.storage import staging_folder
from api.uploads import receive_form

NOT_FOUND = {"error": "Task not found"}
NOT_COMPLETED = {"error": "Task not completed yet", "detail": "Ask for its status until COMPLETED."}
WRONG_TYPE = {"error": "Invalid image file type. Allowed types: ['image/jpeg', 'image/png']"}
CALLBACK = {
    "error": "callback_url points to an address that is not allowed",
    "detail": "It has to be public, or in a network that whoever runs this server allows.",
}
LABELLED = {"error": "This server makes no video without its visible label", "detail": "Leave visible_label out."}
OUT_OF_RANGE = {"error": "fps must be between 8 and 60, got 100"}
NO_ENGINE = {
    "error": "Engine 'diffusion' is not available on this server",
    "detail": "Missing: checkpoint DICE-Talk/unet.pth. Use engine=lite or engine=auto.",
}
TOO_LARGE = {"error": "image is too large", "detail": "Allowed: image at most 10 MB, audio at most 50 MB."}
MALFORMED = {"error": "emotion is not one of the known values", "detail": "Allowed: emotion: 'contempt', 'sad', ..."}
QUEUE_FULL = {"error": "Too many tasks are waiting", "detail": "At most 100 may wait. Try again later."}
KEY_USED = {
    "error": "The Idempotency-Key was used for another request",
    "detail": "Use a new key for each request that differs.",
}
TIMED_OUT = {"error": "The upload took too long", "detail": "It has to arrive within 300 seconds."}
DAMAGED = {
    "error": "The image can't be decoded",
    "detail": "The file is damaged or incomplete. Send a whole JPEG or PNG.",
}
ANOTHER_VERSION = {
    "error": "If-Match names another version of this file",
    "detail": "Download it anew, without the condition.",
}
NOT_READY = {"error": "The service is not ready", "detail": "The database does not answer"}
METRICS = 'dice_talk_queue_length 3.0\ndice_talk_video_seconds_total{engine="lite"} 182.5\n'
STOPPING = {"error": "The server is shutting down", "detail": "Try again soon."}
NO_KEY = {"error": "An API key is needed", "detail": HINT}
REVOKED = {"error": "The API key was revoked", "detail": "Ask whoever runs this server for another."}
TOO_MANY = {
    "error": "Too many requests",
    "detail": "At most 600 a minute are taken with one key. Ask less often.",
}
UNEXPECTED = {"error": "Internal server error", "detail": "The server's log says more."}


def documented(errors: dict[int, dict[str, dict[str, str]]]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of a route's errors, from examples by status and name."""
    retry = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return {
        status: {
            **({"headers": retry} if status in (429, 503) else {}),
            "model": ErrorBody,
            "description": " / ".join(examples),
            "content": {"application/json": {"examples": {name: {"value": body} for name, body in examples.items()}}},
        }
        for status, examples in errors.items()
    }


class UploadedRequest(Request):
    """A request whose form has been read already."""

    async def form(self, **limits: object) -> Any:  # type: ignore[override]
        """What `receive_form` read."""
        return self.state.form


class KeyRoute(APIRoute):
    """Lets in who may ask, before anything else is done: a dependency would run after the upload."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As in FastAPI's "Custom Request and APIRoute class"."""
        handle = super().get_route_handler()

        async def admit_then_handle(request: Request) -> Response:
            access: Access = request.app.state.access
            request.state.owner = access.admit(request.headers.get("authorization"))
            host = request.client.host if request.client else None
            caller.set(client_of(request.state.owner, host))
            address.set(host or "")
            logs.about(request.path_params.get("task_id", ""))
            return await handle(request)

        return admit_then_handle


class FormRoute(APIRoute):
    """Reads the form with limits and on disk, before the framework's own parser could."""

    async def before_form(self, request: Request, synthesis: Synthesis) -> None:
        """Refuses what need not be uploaded to be refused."""
        synthesis.refuse_when_closed()

    @staticmethod
    def limits(settings: Settings) -> dict[str, int]:
        """Largest size in bytes by file field."""
        return {"image": settings.max_image_bytes, "audio": settings.max_audio_bytes}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As in FastAPI's "Custom Request and APIRoute class"."""
        handle = super().get_route_handler()

        async def read_then_handle(request: Request) -> Response:
            synthesis = await service(request)
            settings, authorization = synthesis.settings, request.headers.get("authorization")
            await self.before_form(request, synthesis)
            async with (
                synthesis.uploading(),
                receive_form(request, staging_folder(settings), self.limits(settings), settings.upload_seconds) as form,
            ):
                request.app.state.access.identify(authorization)  # it may have been revoked meanwhile
                request.state.form = form
                return await handle(UploadedRequest(request.scope, request.receive))

        return read_then_handle


class UploadRoute(KeyRoute, FormRoute):
    """First the key, then the form."""


class StartRoute(UploadRoute):
    """Uploads that make a task."""

    async def before_form(self, request: Request, synthesis: Synthesis) -> None:
        """Also what can't find a place in the queue."""
        await synthesis.refuse_in_vain(await owner(request), request.headers.get("idempotency-key"))


async def service(request: Request) -> Synthesis:
    """The service that `create_app` made. Like `owner`, not for a thread: that would take longer than the call."""
    synthesis: Synthesis = request.app.state.synthesis
    return synthesis


async def owner(request: Request) -> str | None:
    """Name of the key that `KeyRoute` admitted; None where none is needed."""
    name: str | None = request.state.owner
    return name


Service = Annotated[Synthesis, Depends(service)]
Owner = Annotated[str | None, Depends(owner)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=255,
        pattern="^[!-~]([ -~]*[!-~])?$",
        description="Any text of your own: the same request sent again with it gives the same task, not a second one.",
        examples=["0b7c3c1e-order-17"],
    ),
]
service_routes = APIRouter(prefix="/api")
uploads = APIRouter(prefix="/api", route_class=StartRoute)
tasks = APIRouter(prefix="/api", route_class=KeyRoute)
operation, callbacks = APIRouter(route_class=KeyRoute), APIRouter()


@service_routes.get("/health", summary="Whether the service can take and render tasks", tags=["Service"])
def get_health(synthesis: Service) -> Health:
    """Answers also while all slots are busy."""
    return synthesis.health()


@service_routes.get("/live", summary="Whether the process answers", tags=["Service"])
async def live() -> Alive:
    """For a supervisor that starts the service anew when this is not answered; it says nothing of what it can do."""
    return Alive()


@service_routes.get(
    "/ready",
    summary="Whether a task would be taken now",
    tags=["Service"],
    responses=documented({503: {"not ready": NOT_READY, "queue full": QUEUE_FULL, "shutting down": STOPPING}}),
)
def ready(synthesis: Service) -> Ready:
    """For a load balancer. Healthy, and with room in the queue."""
    synthesis.refuse_when_not_ready()
    return Ready()


@operation.get(
    "/metrics",
    summary="Counts and gauges for Prometheus",
    tags=["Service"],
    response_class=PlainTextResponse,
    responses={200: {"description": "Prometheus' text format.", "content": {"text/plain": {"example": METRICS}}}},
)
def get_metrics(request: Request, synthesis: Service) -> Response:
    """Since the server's start. Where keys are needed, this needs one as well: it tells how much others do."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(synthesis.load()), media_type=CONTENT_TYPE_PLAIN_0_0_4)


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
            408: {"too slow": TIMED_OUT},
            409: {"another request": KEY_USED},
            413: {"file too large": TOO_LARGE},
            422: {"malformed form": MALFORMED},
            503: {"queue full": QUEUE_FULL, "shutting down": STOPPING},
        }
    ),
)
async def start(
    form: Annotated[RenderForm, Form(media_type="multipart/form-data")],
    synthesis: Service,
    owner: Owner,
    idempotency_key: IdempotencyKey = None,
) -> TaskCreated:
    """Checks the files, stores the task and answers at once; rendering goes on behind."""
    return await synthesis.start(form, owner, idempotency_key)


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
    """Sent once the task is COMPLETED or FAILED, at least once, signed as standardwebhooks.com has it."""


@tasks.get(
    "/v1/synthesis/{task_id}/status",
    summary="How a task stands",
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
        **documented(
            {
                400: {"not completed": NOT_COMPLETED},
                404: {"unknown or removed task": NOT_FOUND},
                412: {"another version": ANOTHER_VERSION},
                416: {"range beyond the file": {"error": "Requested Range Not Satisfiable"}},
            }
        ),
    },
)
def download(task_id: str, request: Request, synthesis: Service, owner: Owner) -> Response:
    """Takes Range and conditional requests."""
    task = synthesis.completed(task_id, owner)
    file = synthesis.result_file(task.render.id)
    modified = task.finished_at or task.created_at  # the file's own time may be that of somebody else's task
    try:
        video = OpenedFile(file, media_type="video/mp4", filename="result.mp4", name=task.id, modified=modified)
    except FileNotFoundError as error:  # removed between the question and the answer
        raise TaskNotFound from error
    response = None
    try:
        response = conditional(video, request.headers)
    finally:
        if response is not video:
            video.close()
    return response


def install(app: FastAPI, more: Iterable[APIRouter], *, keys: bool) -> None:
    """Gives `app` all routes. `keys`: whether to document that these are needed; what looks at them is `KeyRoute`."""
    unexpected = documented({500: {"unexpected": UNEXPECTED}})
    refusals = documented({401: {"no key": NO_KEY}, 403: {"revoked key": REVOKED}, 429: {"too many": TOO_MANY}})
    pages.install(app)
    app.webhooks.include_router(callbacks)
    app.include_router(service_routes, responses=unexpected)
    for guarded in (uploads, tasks, operation, *more):
        if keys:
            scheme = Security(HTTPBearer(scheme_name="API key", auto_error=False))
            app.include_router(guarded, responses=unexpected | refusals, dependencies=[scheme])
        else:
            app.include_router(guarded, responses=unexpected)
    _tidy(app)


def _tidy(app: FastAPI) -> None:
    """Takes the framework's own form of errors, which is never sent, out of the OpenAPI document; puts files first."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        schema = original()
        paths = [*schema["paths"].values(), *schema["webhooks"].values()]
        for operation in (operation for path in paths for operation in path.values()):
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
            for response in operation["responses"].values():  # errors of a stream are no stream
                if misplaced := "examples" in str(response) and response["content"].pop("text/event-stream", None):
                    response["content"]["application/json"] |= misplaced
        schemas = schema["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for form in ("RenderForm", "PreflightForm"):
            fields = schemas[form]["properties"]  # the files first: Swagger UI shows fields in this order
            for field in fields.values():  # a form has no null: what is optional is left out
                field |= field.pop("anyOf", [{}])[0]
            schemas[form]["properties"] = {name: fields[name] for name in ("image", "audio")} | fields
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
