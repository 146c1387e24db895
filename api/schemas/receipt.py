"""What a finished video was made of, and how good it is."""

from typing import Any

from pydantic import BaseModel, Field

from api.schemas.labels import FoundLabels
from api.schemas.tasks import WEIGHTS, Timestamp
from dice_talk import __version__


class StoredImage(BaseModel):
    """The portrait as it was sent."""

    sha256: str
    bytes: int
    width: int = Field(description="Pixels, upright.", examples=[360])
    height: int = Field(examples=[360])


class StoredAudio(BaseModel):
    """The recording as it was sent."""

    sha256: str
    bytes: int
    seconds: float = Field(description="In all, also what was not used.", examples=[8.25])


class ReceiptInputs(BaseModel):
    """What the video was made from."""

    image: StoredImage
    audio: StoredAudio


class ReceiptWeights(BaseModel):
    """What the engine had learned."""

    label: str | None = Field(description=WEIGHTS, examples=[None])
    sha256: dict[str, str | None] = Field(
        description="By file; null for one that has been changed since, or is gone.",
        examples=[{"pocketsphinx/model/en-us/en-us-phone.lm.bin": "0b1c..."}],
    )


class ReceiptTimings(BaseModel):
    """When, and how long. Of a task that shares a render, from when it joined it."""

    created_at: Timestamp = Field(description="UTC, as all times.", examples=["2024-01-15T10:30:00"])
    started_at: Timestamp | None = Field(description="Of the last attempt.", examples=["2024-01-15T10:30:02"])
    finished_at: Timestamp | None = Field(examples=["2024-01-15T10:30:04"])
    queued_seconds: float = Field(description="Until the last attempt began.", examples=[2.0])
    render_seconds: float = Field(examples=[2.1])
    attempts: int = Field(examples=[1])


class ReceiptResult(BaseModel):
    """What the video holds."""

    width: int = Field(examples=[256])
    height: int = Field(examples=[256])
    fps: int = Field(examples=[24])
    frames: int = Field(examples=[198])
    seconds: float = Field(examples=[8.25])
    bytes: int
    sha256: str


class ReceiptMeasured(BaseModel):
    """Found by looking at the finished video, as a stranger would. null for what can't be measured."""

    frames: int = Field(description="Looked at, from the start.", examples=[198])
    face_found_share: float = Field(description="Of those frames; 0 to 1.", examples=[1.0])
    lip_lag_frames: int | None = Field(description="Positive: the lips are late.", examples=[0])
    lip_correlation: float | None = Field(
        description="Between the opening of the lips and the loudness of the sound, at that lag; 1 at most.",
        examples=[0.78],
    )
    identity_similarity: float | None = Field(
        description="Cosine between what a face recogniser makes of the portrait and of the video.", examples=[None]
    )
    why_not: list[str] = Field(
        description="Why something is null.",
        examples=[["Identity can't be compared: this server has no insightface models"]],
    )


class Receipt(BaseModel):
    """Of one finished task."""

    task_id: str = Field(examples=["f47ac10b-58cc-4372-a567-0e02b2c3d479"])
    inputs: ReceiptInputs
    options: dict[str, Any] = Field(
        description="All of them; seed is the one in effect.", examples=[{"emotion": "happy", "seed": 12345}]
    )
    engine: str = Field(examples=["lite"])
    weights: ReceiptWeights
    versions: dict[str, str] = Field(
        description="Of this software, the engine, Python and the packages behind the result, when it was made.",
        examples=[{"dice-talk-server": __version__, "lite-engine": "1", "python": "3.11.9"}],
    )
    timings: ReceiptTimings
    result: ReceiptResult
    labels: FoundLabels | None = Field(description="Read from the file; null where an earlier release looked at it.")
    measured: ReceiptMeasured | None = Field(description="null while it is being measured: ask again a little later.")
