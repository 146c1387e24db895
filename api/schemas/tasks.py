"""Tasks as clients see them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainSerializer, WithJsonSchema

from api.tasks.model import FINAL, TaskStatus
from dice_talk.error_codes import ErrorCode

Timestamp = Annotated[
    datetime,
    PlainSerializer(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S")),
    WithJsonSchema({"type": "string"}),  # JSON Schema's date-time has a zone
]
"""UTC to the second, without a zone, as documented."""


class InputWarning(BaseModel):
    """Something about what was sent that could be better."""

    code: str = Field(description="For programs; see the list in docs/api.md.", examples=["several_faces"])
    message: str = Field(
        description="What was seen, and what to do.",
        examples=["There are 3 faces in the picture; the largest is animated. face_index chooses another: ..."],
    )
    blocking: bool = Field(description="Whether rendering would fail.", examples=[False])


WARNINGS = "What to know about the files that were sent: silent_audio, a recording in which nothing is heard."


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
    error_code: ErrorCode | None = Field(
        None, description="Of a failure: why, for programs; see the list in docs/api.md.", examples=[None]
    )
    error_params: dict[str, Any] | None = Field(
        None, description="Of a failure: the values in message and detail, by name.", examples=[None]
    )
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


class TaskPage(BaseModel):
    """Some tasks, newest first."""

    tasks: list[TaskState]
    next_cursor: str | None = Field(description="To be sent as cursor for those that follow; null when none do.")


class SynthesisEnded(BaseModel):
    """What a callback tells."""

    type: Literal["synthesis.completed", "synthesis.failed"]
    timestamp: datetime = Field(description="When it ended.", examples=["2024-01-15T10:32:30Z"])
    data: TaskState
