"""How routes admit clients and read forms, and what they depend on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import FormData

from api import logs
from api.caller import address, caller, client_of
from api.http.services import Services
from api.http.uploads import receive_form
from api.service.admission import Admission
from api.service.synthesis import Synthesis
from api.settings import Settings


async def services(request: Request) -> Services:
    """Return what `create_app` made. Async like all dependencies here, because a thread would take longer."""
    made: Services = request.app.state.services
    return made


async def synthesis(services: Annotated[Services, Depends(services)]) -> Synthesis:
    """Return the service behind most routes."""
    return services.synthesis


async def owner(request: Request) -> str | None:
    """Return the name of the key that `KeyRoute` admitted; None if no key is needed."""
    name: str | None = request.state.owner
    return name


AllServices = Annotated[Services, Depends(services)]
Service = Annotated[Synthesis, Depends(synthesis)]
Owner = Annotated[str | None, Depends(owner)]


class UploadedRequest(Request):
    """A request whose form was read already."""

    async def form(self, **limits: object) -> Any:  # type: ignore[override]
        """Return what `receive_form` read."""
        return self.state.form


class KeyRoute(APIRoute):
    """Checks the API key before anything else: a dependency would run after the upload."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As in "Custom Request and APIRoute class" of FastAPI's documentation."""
        handle = super().get_route_handler()

        async def admit_then_handle(request: Request) -> Response:
            access = request.app.state.services.access
            request.state.owner = await access.admit(request.headers.get("authorization"))
            host = request.client.host if request.client else None
            caller.set(client_of(request.state.owner, host))
            address.set(host or "")
            logs.about(request.path_params.get("task_id", ""))
            return await handle(request)

        return admit_then_handle


class FormRoute(APIRoute):
    """Reads the form to disk, within limits, before the framework's own parser could."""

    async def before_form(self, request: Request, admission: Admission) -> None:
        """Refuse requests that need not be uploaded to be refused."""
        await asyncio.to_thread(admission.refuse_when_closed)

    @staticmethod
    def limits(settings: Settings) -> dict[str, int]:
        """Return the largest size in bytes by file field."""
        return {"image": settings.max_image_bytes, "audio": settings.max_audio_bytes}

    @staticmethod
    def complete(form: FormData) -> FormData:
        """Return the form with what it leaves to the service."""
        return form

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As in "Custom Request and APIRoute class" of FastAPI's documentation."""
        handle = super().get_route_handler()

        async def read_then_handle(request: Request) -> Response:
            made = await services(request)
            admission, settings = made.admission, made.settings
            await self.before_form(request, admission)
            async with (
                admission.uploading(),
                receive_form(request, made.files, self.limits(settings), settings.upload_seconds) as form,
            ):
                made.access.identify(request.headers.get("authorization"))  # the key may have been revoked meanwhile
                request.state.form = self.complete(form)
                return await handle(UploadedRequest(request.scope, request.receive))

        return read_then_handle


class UploadRoute(KeyRoute, FormRoute):
    """Checks the key, then reads the form."""
