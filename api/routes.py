"""Verbs and paths to calls. No logic here."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Form, Request, Response, Security
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.staticfiles import NotModifiedResponse, StaticFiles

from api.access import HINT, Access
from api.errors import ErrorBody, TaskNotFound
from api.files import OpenedFile
from api.schemas import Health, RenderForm, TaskCreated, TaskState
from api.service import Synthesis, staging_folder
from api.uploads import receive_form

NOT_FOUND = {"error": "Task not found"}
NOT_COMPLETED = {"error": "Task not completed yet", "detail": "Ask for its status until COMPLETED."}
WRONG_TYPE = {"error": "Invalid image file type. Allowed types: ['image/jpeg', 'image/png']"}
OUT_OF_RANGE = {"error": "fps must be between 8 and 60, got 100"}
NO_ENGINE = {
    "error": "Engine 'diffusion' is not available on this server",
    "detail": "Missing: checkpoint DICE-Talk/unet.pth. Use engine=lite or engine=auto.",
}
TOO_LARGE = {"error": "image is too large", "detail": "Allowed: image at most 10 MB, audio at most 50 MB."}
MALFORMED = {"error": "emotion is not one of the known values", "detail": "Allowed: emotion: 'contempt', 'sad', ..."}
QUEUE_FULL = {"error": "Too many tasks are waiting", "detail": "At most 100 may wait. Try again later."}
TIMED_OUT = {"error": "The upload took too long", "detail": "It has to arrive within 300 seconds."}
DAMAGED = {
    "error": "The image can't be decoded",
    "detail": "The file is damaged or incomplete. Send a whole JPEG or PNG.",
}
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
            return await handle(request)

        return admit_then_handle


class FormRoute(APIRoute):
    """Reads the form with limits and on disk, before the framework's own parser could."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As in FastAPI's "Custom Request and APIRoute class"."""
        handle = super().get_route_handler()

        async def read_then_handle(request: Request) -> Response:
            synthesis = await service(request)
            settings = synthesis.settings
            limits = {"image": settings.max_image_bytes, "audio": settings.max_audio_bytes}
            async with (
                synthesis.uploading(await owner(request)),
                receive_form(request, staging_folder(settings), limits, settings.upload_seconds) as form,
            ):
                request.state.form = form
                return await handle(UploadedRequest(request.scope, request.receive))

        return read_then_handle


class UploadRoute(KeyRoute, FormRoute):
    """First the key, then the form."""


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
pages, service_routes = APIRouter(), APIRouter()
uploads, tasks = APIRouter(route_class=UploadRoute), APIRouter(route_class=KeyRoute)


@pages.get("/", include_in_schema=False)
def index() -> RedirectResponse:
    """For people who open the server in a browser."""
    return RedirectResponse("docs")


@service_routes.get("/health", summary="Whether the service can take and render tasks", tags=["Service"])
def get_health(synthesis: Service) -> Health:
    """Answers also while all slots are busy."""
    return synthesis.health()


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
            },
            408: {"too slow": TIMED_OUT},
            413: {"file too large": TOO_LARGE},
            422: {"malformed form": MALFORMED},
            503: {"queue full": QUEUE_FULL, "shutting down": STOPPING},
        }
    ),
)
async def start(
    form: Annotated[RenderForm, Form(media_type="multipart/form-data")], synthesis: Service, owner: Owner
) -> TaskCreated:
    """Checks the files, stores the task and answers at once; rendering goes on behind."""
    return await synthesis.start(form, owner)


@tasks.get(
    "/v1/synthesis/{task_id}/status",
    summary="How a task stands",
    tags=["Synthesis"],
    responses=documented({404: {"unknown or removed task": NOT_FOUND}}),
)
async def get_status(task_id: str, synthesis: Service, owner: Owner) -> TaskState:
    """Ask every few seconds until `status` is COMPLETED or FAILED."""
    return await synthesis.status(task_id, owner)


@tasks.head("/v1/synthesis/{task_id}/download", include_in_schema=False)  # after GET, which `Allow` then names
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
                416: {"range beyond the file": {"error": "Requested Range Not Satisfiable"}},
            }
        ),
    },
)
def download(task_id: str, request: Request, synthesis: Service, owner: Owner) -> Response:
    """Takes Range and conditional requests."""
    file = synthesis.result(task_id, owner)
    try:
        response = OpenedFile(file, media_type="video/mp4", filename="result.mp4")
    except FileNotFoundError as error:  # removed between the question and the answer
        raise TaskNotFound from error
    if StaticFiles().is_not_modified(response.headers, request.headers):
        response.close()
        return NotModifiedResponse(response.headers)
    return response


def install(app: FastAPI, more: Iterable[APIRouter], *, keys: bool) -> None:
    """Gives `app` all routes. `keys`: whether to document that these are needed; what looks at them is `KeyRoute`."""
    unexpected = documented({500: {"unexpected": UNEXPECTED}})
    refusals = documented({401: {"no key": NO_KEY}, 403: {"revoked key": REVOKED}, 429: {"too many": TOO_MANY}})
    app.include_router(pages)
    app.include_router(service_routes, prefix="/api", responses=unexpected)
    for guarded in (uploads, tasks, *more):
        if keys:
            scheme = Security(HTTPBearer(scheme_name="API key", auto_error=False))
            app.include_router(guarded, prefix="/api", responses=unexpected | refusals, dependencies=[scheme])
        else:
            app.include_router(guarded, prefix="/api", responses=unexpected)
    _tidy(app)


def _tidy(app: FastAPI) -> None:
    """Takes the framework's own form of errors, which is never sent, out of the OpenAPI document; puts files first."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        schema = original()
        for operation in (operation for path in schema["paths"].values() for operation in path.values()):
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
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
