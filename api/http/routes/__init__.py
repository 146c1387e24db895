"""Every route of the API."""

from typing import Any

from fastapi import FastAPI, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from api.http import pages
from api.http.routes import inspection, service, synthesis, tasks
from api.http.routes.examples import NO_KEY, REVOKED, TOO_MANY, UNEXPECTED, documented

ROUTERS = (
    synthesis.uploads,
    synthesis.tasks,
    inspection.uploads,
    inspection.tasks,
    tasks.calls,
    inspection.videos,
    service.public,
    service.operation,
)
"""In the order in which they are documented: first what most clients need."""
GUARDED = tuple(router for router in ROUTERS if router is not service.public)
"""Routers whose routes need an API key, if the operator asks for keys."""
TAGS = [
    {"name": "Synthesis", "description": "Start tasks, follow them, download videos; check files before and after."},
    {"name": "Service", "description": "Whether the service works and how busy it is: for monitoring and proxies."},
]


def install(app: FastAPI, *, keys: bool) -> None:
    """Add all routes. `keys`: whether to document that they need an API key; `KeyRoute` is what checks it."""
    unexpected = documented({500: {"unexpected": UNEXPECTED}})
    refusals = documented({401: {"no key": NO_KEY}, 403: {"revoked key": REVOKED}, 429: {"too many": TOO_MANY}})
    scheme = Security(HTTPBearer(scheme_name="API key", auto_error=False))
    guarded = {"responses": unexpected | refusals, "dependencies": [scheme]} if keys else {"responses": unexpected}
    app.openapi_tags = TAGS
    pages.install(app)
    app.webhooks.include_router(synthesis.callbacks, generate_unique_id_function=call_name)
    for router in ROUTERS:
        added = guarded if router in GUARDED else {"responses": unexpected}
        app.include_router(router, generate_unique_id_function=call_name, **added)
    _tidy(app)


def call_name(route: APIRoute) -> str:
    """Return the function's name, which identifies the call: generated clients name their methods after it."""
    return route.name


def _tidy(app: FastAPI) -> None:
    """Remove the framework's own error model, which is never sent, from the OpenAPI document, and list files first."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        schema = original()
        paths = [*schema["paths"].values(), *schema["webhooks"].values()]
        for operation in (operation for path in paths for operation in path.values()):
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
            for response in operation["responses"].values():  # errors of a stream are JSON
                if misplaced := "examples" in str(response) and response["content"].pop("text/event-stream", None):
                    response["content"]["application/json"] |= misplaced
        schemas = schema["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for form in ("RenderForm", "PreflightForm"):
            fields = schemas[form]["properties"]  # files first: Swagger UI shows fields in this order
            for field in fields.values():  # a form has no null: optional fields are left out
                field |= field.pop("anyOf", [{}])[0]
            schemas[form]["properties"] = {name: fields[name] for name in ("image", "audio")} | fields
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
