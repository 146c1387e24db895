"""The service itself."""

from typing import Literal

from pydantic import BaseModel, Field

from api.schemas.tasks import WEIGHTS
from dice_talk import __version__


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """A task that is started now is accepted."""

    status: Literal["ready"] = "ready"


class NodeSlots(BaseModel):
    """The slots of one node."""

    name: str = Field(examples=["node-1"])
    slots: int = Field(examples=[2])
    slots_busy: int = Field(examples=[1])


class Health(BaseModel):
    """Whether the service can take and render tasks."""

    status: Literal["healthy", "unhealthy"]
    gpu_available: bool
    model_loaded: bool = Field(description="Whether the engine in use has its models in memory.")
    version: str = Field(examples=[__version__])
    engine: str | None = Field(description="Engine for requests that say auto; null if none can run.")
    weights: str | None = Field(description=WEIGHTS, examples=[None])
    queue_length: int = Field(description="Waiting tasks.")
    queue_size: int = Field(description="Tasks that may wait.")
    slots: int = Field(description="Tasks that can be rendered at the same time.")
    slots_busy: int = Field(description="Tasks being rendered.")
    nodes: list[NodeSlots] | None = Field(
        None, description="Where the slots are on a Ray cluster; null if this machine renders."
    )
    detail: str | None = Field(
        None, description="What is wrong with an unhealthy service, or why tasks wait in a healthy one."
    )


class EngineFound(BaseModel):
    """An engine that requests may name."""

    name: str = Field(examples=["lite"])
    summary: str = Field(description="One sentence about it.", examples=["Animates any portrait on any CPU."])
    available: bool = Field(description="Whether it can render on this server.")
    missing: str | None = Field(description="What it lacks here; null if nothing.", examples=[None])
    remedy: str | None = Field(description="What to do about that.", examples=[None])
    ignores: list[str] = Field(
        description="Options that mean nothing to it.", examples=[["inference_steps", "quality"]]
    )


class Engines(BaseModel):
    """The engines."""

    auto: str | None = Field(description="What engine=auto stands for; null if none can run.", examples=["lite"])
    engines: list[EngineFound]
