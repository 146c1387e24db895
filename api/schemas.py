"""What goes over the wire: the request form and the responses. Documented fields first, further ones after them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, HttpUrl, PlainSerializer, ValidationError, WithJsonSchema

from api.tasks import FINAL, Render, TaskStatus
from dice_talk import __version__
from dice_talk.engine import EngineChoice
from dice_talk.options import LEFT_EMPTY, Flag, RenderOptions

MAX_PAGE = 100
Timestamp = Annotated[
    datetime,
    PlainSerializer(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S")),
    WithJsonSchema({"type": "string"}),  # JSON Schema's date-time has a zone
]
"""UTC to the second, without a zone, as documented."""


class TaskOptions(RenderOptions):
    """Every option of `RenderOptions`, and what renders."""

    engine: EngineChoice = Field(
        "auto", description="What renders: auto takes diffusion when its checkpoints are complete, else lite."
    )
    callback_url: HttpUrl | None = Field(
        None,
        json_schema_extra=LEFT_EMPTY,
        description="Is told how the task ended, by a signed POST (Standard Webhooks); a public http or https address.",
    )

    visible_label: Flag = Field(
        True, description="false: without the visible label; only where whoever runs the server allows that."
    )

    def options(self) -> RenderOptions:
        """Those that engines know."""
        return RenderOptions(**{name: getattr(self, name) for name in RenderOptions.model_fields})

    @classmethod
    def of(cls, render: Render, changes: Mapping[str, object]) -> "TaskOptions":
        """A render's, with changes. A seed that was drawn is drawn anew. Raises `RequestValidationError`."""
        kept = {**render.options.model_dump(), "engine": render.engine}
        if render.cache_key is None:
            kept["seed"] = None
        try:
            return cls.model_validate({**kept, **changes})
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error


class RenderForm(TaskOptions):
    """The form that starts a task: two files and all options."""

    image: UploadFile = Field(description="Portrait with a clear face: JPEG or PNG, at most 10 MB.")
    audio: UploadFile = Field(description="Clear speech: WAV or MP3, at most 50 MB.")


def _bounds(schema: dict[str, Any]) -> tuple[float, float] | None:
    number = schema.get("anyOf", [schema])[0]
    return (number["minimum"], number["maximum"]) if "minimum" in number else None


BOUNDS = {
    name: bounds
    for name, schema in RenderOptions.model_json_schema()["properties"].items()
    if (bounds := _bounds(schema))
} | {"limit": (1, MAX_PAGE)}
"""Lowest and highest value by field name, for error messages."""


class InputWarning(BaseModel):
    """Something about what was sent that could be better."""

    code: str = Field(description="For programs; see the list in docs/api.md.", examples=["several_faces"])
    message: str = Field(
        description="What was seen, and what to do.",
        examples=["There are 3 faces in the picture; the largest is animated. face_index chooses another: ..."],
    )
    blocking: bool = Field(description="Whether rendering would fail.", examples=[False])


WARNINGS = "What to know about the files that were sent: silent_audio, a recording in which nothing is heard."


MAY_BE_EMPTY = frozenset(
    name
    for name, schema in TaskOptions.model_json_schema()["properties"].items()
    if not {"$ref", "enum"} & schema.keys()
)
"""Options that a form may leave empty, as browsers send what was not filled in. A choice is made or left out."""


class TaskCreated(BaseModel):
    """Answer to a request that was accepted."""

    task_id: str = Field(examples=["f47ac10b-58cc-4372-a567-0e02b2c3d479"])
    status: TaskStatus = Field(examples=["PENDING"])
    message: str = Field(examples=["Task created successfully"])
    warnings: list[InputWarning] = Field(default_factory=list, description=WARNINGS, examples=[[]])


class SecondsRange(BaseModel):
    """From when things go well to when they don't: the truth lies in between four times out of five."""

    low: float = Field(examples=[2.5])
    high: float = Field(examples=[6.0])


WEIGHTS = "Of the diffusion engine: published, or what its weights are instead, such as tiny random weights."


class TaskState(BaseModel):
    """A task as it stands."""

    task_id: str = Field(examples=["f47ac10b-58cc-4372-a567-0e02b2c3d479"])
    status: TaskStatus = Field(examples=["PROCESSING"])
    progress: float = Field(description="Share that is done, 0.0 to 1.0; it never goes back.", examples=[0.6])
    message: str = Field(description="What is being done, or why it failed.", examples=["Generating video..."])
    created_at: Timestamp = Field(description="UTC.", examples=["2024-01-15T10:30:00"])
    updated_at: Timestamp = Field(description="UTC.", examples=["2024-01-15T10:32:30"])
    detail: str | None = Field(None, description="Of a failure: what to try.")
    stage: str = Field(description="What is being done, as one word.", examples=["render"])
    queue_position: int | None = Field(None, description="1 for the task that is next; null once it has started.")
    engine: str = Field(description="Which engine renders: lite or diffusion.", examples=["lite"])
    weights: str | None = Field(description=WEIGHTS, examples=[None])
    seed: int = Field(description="The seed in effect, drawn when none was given.", examples=[12345])
    duration: float = Field(description="Seconds of video: the audio's length or the requested one, whichever is less.")
    elapsed_seconds: float = Field(description="Seconds since rendering began, or that it took.", examples=[12.5])
    attempts: int = Field(description="How often rendering was started.", examples=[1])
    step: int | None = Field(None, description="Steps done of the present stage, where it has any.", examples=[120])
    steps: int | None = Field(None, description="Of how many: denoising steps or frames.", examples=[198])
    frame: int | None = Field(None, description="Frames drawn; only while stage is render.", examples=[120])
    frames: int | None = Field(None, description="Frames to draw; only while stage is render.", examples=[198])
    eta_seconds: SecondsRange | None = Field(
        None, description="Seconds until the video is there, from past tasks; null when that is not known or has ended."
    )
    cancelled: bool = Field(False, description="The client cancelled it; status is then FAILED.", examples=[False])
    warnings: list[InputWarning] = Field(default_factory=list, description=WARNINGS, examples=[[]])
    visible_label: str | None = Field(None, description="What is drawn into the video as a label.", examples=["AI生成"])

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in FINAL


class VisibleLabel(BaseModel):
    """Of a video made by this software."""

    text: str = Field(examples=["AI生成 AI-generated"])
    shown: str = Field(description="start (for two seconds) or always.", examples=["start"])


class Signature(BaseModel):
    """Of a C2PA manifest."""

    state: str = Field(
        description="trusted; valid: it holds, but the signer is not known to this server; invalid; unchecked: this "
        "server lacks the package.",
        examples=["valid"],
    )
    signer: str | None = Field(description="The organisation that the certificate names.", examples=["Example Ltd"])
    generator: str | None = Field(description="The software that is said to have made it.", examples=["Example 1.0"])
    digital_source_type: str | None = Field(description="As in FoundLabels.", examples=["compositeSynthetic"])
    problems: list[str] = Field(description="C2PA's codes.", examples=[["signingCredential.untrusted"]])


class FoundLabels(BaseModel):
    """What a file says of being synthetic; null for what it doesn't say. Anybody can write most of it."""

    aigc: dict[str, str] | str | None = Field(
        description="China's AIGC field; as text where it is not as the standard has it.",
        examples=[{"Label": "1", "ContentProducer": "DICE-Talk Server"}],
    )
    digital_source_type: str | None = Field(
        description="IPTC's term, in XMP: compositeSynthetic or compositeWithTrainedAlgorithmicMedia in our videos.",
        examples=["compositeSynthetic"],
    )
    visible_label: VisibleLabel | None = Field(description="As our files note it; in those of others none is found.")
    c2pa: Signature | None = Field(description="A signed manifest.")


class TaskPage(BaseModel):
    """Some tasks, newest first."""

    tasks: list[TaskState]
    next_cursor: str | None = Field(description="To be sent as cursor for those that follow; null when none do.")


class SynthesisEnded(BaseModel):
    """What a callback tells."""

    type: Literal["synthesis.completed", "synthesis.failed"]
    timestamp: datetime = Field(description="When it ended.", examples=["2024-01-15T10:32:30Z"])
    data: TaskState


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """A task that is started now is taken."""

    status: Literal["ready"] = "ready"


class Health(BaseModel):
    """Whether the service can take and render tasks."""

    status: Literal["healthy", "unhealthy"]
    gpu_available: bool
    model_loaded: bool = Field(description="Whether the engine in use has its models in memory.")
    version: str = Field(examples=[__version__])
    engine: str | None = Field(description="Engine for requests that say auto; null when none can run.")
    weights: str | None = Field(description=WEIGHTS, examples=[None])
    queue_length: int = Field(description="Tasks that wait.")
    queue_size: int = Field(description="Tasks that may wait.")
    slots: int = Field(description="Tasks that can be rendered at the same time.")
    slots_busy: int = Field(description="Tasks being rendered.")
    detail: str | None = Field(None, description="Of an unhealthy service: what is wrong.")
