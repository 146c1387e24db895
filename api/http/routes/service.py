"""Routes about the service itself: health, liveness, readiness, metrics."""

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from api.http.routes.base import AllServices, KeyRoute, Service
from api.http.routes.examples import NOT_READY, QUEUE_FULL, STOPPING, documented
from api.schemas.service import Alive, Engines, Health, Ready
from api.service.engines import list_engines

METRICS = 'dice_talk_queue_length 3.0\ndice_talk_video_seconds_total{engine="lite"} 182.5\n'
public = APIRouter(prefix="/api")
operation = APIRouter(route_class=KeyRoute)


@public.get("/health", summary="Whether the service can take and render tasks", tags=["Service"])
def get_health(synthesis: Service) -> Health:
    """Answers even if all slots are busy."""
    return synthesis.health()


@public.get("/live", summary="Whether the process answers", tags=["Service"])
async def live() -> Alive:
    """For a supervisor that restarts the service if this is not answered. It does not say what the service can do."""
    return Alive()


@public.get(
    "/ready",
    summary="Whether a task would be taken now",
    tags=["Service"],
    responses=documented({503: {"not ready": NOT_READY, "queue full": QUEUE_FULL, "shutting down": STOPPING}}),
)
def ready(synthesis: Service) -> Ready:
    """For a load balancer: healthy, and with room in the queue."""
    synthesis.refuse_when_not_ready()
    return Ready()


@operation.get("/api/v1/engines", summary="The engines, and what they lack here", tags=["Service"])
def get_engines(services: AllServices) -> Engines:
    """Which engines a request may name, which of them can render on this server, and what each takes no notice of."""
    return list_engines(services.settings.engine, services.settings.checkpoints_dir)


@operation.get(
    "/metrics",
    summary="Counts and gauges for Prometheus",
    tags=["Service"],
    response_class=PlainTextResponse,
    responses={200: {"description": "Prometheus' text format.", "content": {"text/plain": {"example": METRICS}}}},
)
def get_metrics(services: AllServices) -> Response:
    """Counts since the server's start. If the server needs API keys, so does this: it shows how busy others are."""
    return Response(services.metrics.text(services.synthesis.load()), media_type=CONTENT_TYPE_PLAIN_0_0_4)
