"""Tasks as clients see them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainSerializer, WithJsonSchema

from api.tasks.model import FINAL, TaskStatus
from dice_talk.engines import in_words, ranked
from dice_talk.error_codes import ErrorCode

Timestamp = Annotated[
    datetime,
    PlainSerializer(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S")),
    WithJsonSchema({"type": "string"}),  # JSON Schema's date-time has a zone
]
"""UTC to the second, without a zone, as documented."""


class InputWarning(BaseModel):
    """Something about the files that could be better."""

    code: str = Field(description="For programs; see the list in docs/api.md.", examples=["several_faces"])
    message: str = Field(
        description="What was seen, and what to do.",
        examples=["There are 3 faces in the picture; the largest is animated. face_index chooses another: ..."],
    )
    blocking: bool = Field(description="Whether rendering would fail.", examples=[False])


WARNINGS = "Warnings about the files: silent_audio for a recording without any sound."


class TaskCreated(BaseModel):
    """Response to a request that was accepted."""

    task_id: str = Field(examples=["f47ac10b-58cc-4372-a567-0e02b2c3d479"])
    status: TaskStatus = Field(examples=["PENDING"])
    message: str = Field(examples=["Task created successfully"])
    warnings: list[InputWarning] = Field(default_factory=list, description=WARNINGS, examples=[[]])


class SecondsRange(BaseModel):
    """The best and the worst case. The truth lies in between four times out of five."""

    low: float = Field(examples=[2.5])
    high: float = Field(examples=[6.0])


ENGINE_NAMES = in_words([spec.name for spec in ranked()])
_WITH_WEIGHTS = in_words([f"the {spec.name} engine" for spec in ranked() if spec.weights], "and")
WEIGHTS = f"Weights of {_WITH_WEIGHTS}: published, or what they are instead, such as tiny random weights."


class TaskState(BaseModel):
    """The state of a task."""

    task_id: str = Field(examples=["f47ac10b-58cc-4372-a567-0e02b2c3d479"])
    status: TaskStatus = Field(examples=["PROCESSING"])
    progress: float = Field(description="Share that is done, 0.0 to 1.0; it never decreases.", examples=[0.6])
    message: str = Field(description="What is being done, or why it failed.", examples=["Generating video..."])
    created_at: Timestamp = Field(description="UTC.", examples=["2024-01-15T10:30:00"])
    updated_at: Timestamp = Field(description="UTC.", examples=["2024-01-15T10:32:30"])
    detail: str | None = Field(None, description="If the task failed: what to try.")
    error_code: ErrorCode | None = Field(
        None, description="If the task failed: why, for programs; see docs/api.md.", examples=[None]
    )
    error_params: dict[str, Any] | None = Field(
        None, description="If the task failed: the values in message and detail, by name.", examples=[None]
    )
    stage: str = Field(description="What is being done, as one word.", examples=["render"])
    queue_position: int | None = Field(None, description="1 for the task that is next; null once it has started.")
    engine: str = Field(description=f"Which engine renders: {ENGINE_NAMES}.", examples=["lite"])
    weights: str | None = Field(description=WEIGHTS, examples=[None])
    seed: int = Field(description="The seed that is used; drawn if none was given.", examples=[12345])
    duration: float = Field(description="Seconds of video: the audio's length or the requested one, whichever is less.")
    elapsed_seconds: float = Field(
        description="Seconds since rendering began, or that it took in all.", examples=[12.5]
    )
    attempts: int = Field(description="How often rendering was started.", examples=[1])
    step: int | None = Field(None, description="Finished steps of the present stage, if it has any.", examples=[120])
    steps: int | None = Field(None, description="Number of steps: denoising steps or frames.", examples=[198])
    frame: int | None = Field(None, description="Frames drawn; only while stage is render.", examples=[120])
    frames: int | None = Field(None, description="Frames to draw; only while stage is render.", examples=[198])
    eta_seconds: SecondsRange | None = Field(
        None,
        description="Seconds until the video is finished, from past tasks; null if that is not known, or at the end.",
    )
    cancelled: bool = Field(False, description="The client cancelled it; status is then FAILED.", examples=[False])
    warnings: list[InputWarning] = Field(default_factory=list, description=WARNINGS, examples=[[]])
    visible_label: str | None = Field(
        None, description="Text of the label that is drawn into the video.", examples=["AI生成"]
    )

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.status in FINAL


class PreviewShown(BaseModel):
    """The data of an event `preview`."""

    step: int = Field(description="Finished steps.", examples=[9])
    steps: int = Field(examples=[25])
    image: str = Field(description="A small JPEG as a data URL.", examples=["data:image/jpeg;base64,/9j/4AAQ..."])


class TaskPage(BaseModel):
    """Some tasks, newest first."""

    tasks: list[TaskState]
    next_cursor: str | None = Field(description="Value of cursor for the next page; null if there is none.")


class SynthesisEnded(BaseModel):
    """The body of a callback."""

    type: Literal["synthesis.completed", "synthesis.failed"]
    timestamp: datetime = Field(description="When it ended.", examples=["2024-01-15T10:32:30Z"])
    data: TaskState
