"""Routes beyond the API document: list, follow, cancel, remove and retry tasks. No logic here."""

from collections.abc import AsyncIterable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.http.routes.base import AllServices, KeyRoute, Owner, Service
from api.http.routes.examples import (
    BAD_CURSOR,
    BAD_LIMIT,
    BAD_STATE,
    BIG_BODY,
    ENDED,
    LATE_BODY,
    NO_ENGINE,
    NOT_FOUND,
    OUT_OF_RANGE,
    QUEUE_FULL,
    STOPPING,
    UNKNOWN_FIELD,
    documented,
)
from api.http.uploads import receive_fields
from api.schemas.options import MAX_PAGE, MAY_BE_EMPTY, TaskOptions
from api.schemas.tasks import TaskCreated, TaskPage, TaskState
from api.service.events import Feed
from api.tasks.model import TaskStatus
from dice_talk.options import LEFT_EMPTY

STREAM = """id: 5f3a9c01-7
event: state
data: {"task_id":"f47ac10b-58cc-4372-a567-0e02b2c3d479","status":"PROCESSING","progress":0.6, ...}

id: 5f3a9c01-8
event: end
data: {"task_id":"f47ac10b-58cc-4372-a567-0e02b2c3d479","status":"COMPLETED","progress":1.0, ...}

"""
calls = APIRouter(route_class=KeyRoute, prefix="/api/v1/synthesis", tags=["Synthesis"])


@calls.get(
    "",
    summary="All tasks, newest first",
    responses=documented(
        {400: {"out of range": BAD_LIMIT, "not a cursor": BAD_CURSOR}, 422: {"unknown state": BAD_STATE}}
    ),
)
def list_tasks(
    synthesis: Service,
    owner: Owner,
    state: Annotated[list[TaskStatus], Query(description="Only tasks in this state; may be repeated.")] = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many at most.")] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> TaskPage:
    """With API keys, only the tasks of this key. Tasks that are added meanwhile do not shift the pages."""
    return synthesis.page(owner, state, limit, cursor)


async def feed(task_id: str, synthesis: Service, owner: Owner) -> Feed:
    """Find the task before the stream begins, while 404 can still be answered."""
    return await synthesis.feed(task_id, owner)


@calls.get(
    "/{task_id}/events",
    summary="What happens to a task, as it happens",
    response_class=EventSourceResponse,
    responses={
        200: {"description": "Server-sent events.", "content": {"text/event-stream": {"example": STREAM}}},
        **documented({404: {"unknown or removed task": NOT_FOUND}}),
    },
)
async def follow(
    request: Request,
    services: AllServices,
    feed: Annotated[Feed, Depends(feed)],
    last_event_id: Annotated[
        str | None, Header(description="Browsers send it when they reconnect, to get missed events first.")
    ] = None,
    previews: Annotated[
        bool, Query(description="Also send events `preview`: pictures of the unfinished video, if the engine has any.")
    ] = False,
) -> AsyncIterable[ServerSentEvent]:
    """Sends an event `state` now and at each change, and then one event `end`. Both hold the task's state.

    The stream then closes. Close the connection too, or a browser opens it again. Comments keep it alive meanwhile.
    If a stream closes without `end`, open it again: the server was shut down, or the key was revoked.
    """
    allowed = partial(services.access.is_valid, request.headers.get("authorization"))
    async for event in feed.follow(last_event_id, allowed, previews=previews):
        yield event


@calls.post(
    "/{task_id}/cancel",
    summary="End a task",
    responses=documented({404: {"unknown or removed task": NOT_FOUND}, 409: {"ended already": ENDED}}),
)
async def cancel(task_id: str, synthesis: Service, owner: Owner) -> TaskState:
    """Its status is FAILED at once, with the message "Cancelled". Rendering stops within one step."""
    return await synthesis.cancel(task_id, owner)


@calls.delete(
    "/{task_id}",
    summary="Remove a task and its files",
    status_code=204,
    response_class=Response,
    responses=documented({404: {"unknown or removed task": NOT_FOUND}}),
)
async def remove(task_id: str, synthesis: Service, owner: Owner) -> None:
    """A task that has not ended is cancelled first. A video that other tasks share is kept for them."""
    await synthesis.remove(task_id, owner)


def _all_optional(*, form: bool) -> dict[str, Any]:
    """Describe, for OpenAPI, a body with any of a task's options. Options that are left out keep their value."""
    fields = TaskOptions.model_json_schema(ref_template="#/components/schemas/{model}")["properties"]
    for name, field in fields.items():
        for word in ("default", "example", "examples"):
            field.pop(word, None)
        if form:  # a form has no null
            field |= field.pop("anyOf", [{}])[0]
            if name in MAY_BE_EMPTY:
                field |= LEFT_EMPTY
    return {"type": "object", "title": "RetryForm", "properties": fields, "additionalProperties": False}


FORM, MEMBERS = _all_optional(form=True), _all_optional(form=False)


async def changes(request: Request, services: AllServices) -> dict[str, Any]:
    """Read the options that a retry changes, from a form or JSON."""
    seconds = services.settings.upload_seconds
    return await receive_fields(request, services.files, seconds, may_be_empty=MAY_BE_EMPTY)


@calls.post(
    "/{task_id}/retry",
    summary="Start a new task on the same files",
    responses=documented(
        {
            400: {"out of range": OUT_OF_RANGE, "engine not there": NO_ENGINE},
            404: {"unknown or removed task": NOT_FOUND},
            408: {"too slow": LATE_BODY},
            413: {"too large": BIG_BODY},
            422: {"malformed form": UNKNOWN_FIELD},
            503: {"queue full": QUEUE_FULL, "shutting down": STOPPING},
        }
    ),
    openapi_extra={
        "requestBody": {
            "description": "Options that are to differ; all others stay. A seed that was drawn is drawn anew.",
            "content": {
                "application/json": {"schema": MEMBERS, "example": {"emotion": "sad", "seed": 7}},
                "multipart/form-data": {"schema": FORM},
                "application/x-www-form-urlencoded": {"schema": FORM},
            },
        }
    },
)
async def retry(
    task_id: str, changes: Annotated[dict[str, Any], Depends(changes)], services: AllServices, owner: Owner
) -> TaskCreated:
    """Works whatever the outcome of the first task, as long as it exists. Nothing has to be uploaded again."""
    return await services.admission.retry(task_id, owner, changes)
