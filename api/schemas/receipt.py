"""Receipts: what a finished video was made from, and how good it is."""

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
    seconds: float = Field(description="Whole length, including any part that was not used.", examples=[8.25])


class ReceiptInputs(BaseModel):
    """What the video was made from."""

    image: StoredImage
    audio: StoredAudio


class ReceiptWeights(BaseModel):
    """The engine's weights."""

    label: str | None = Field(description=WEIGHTS, examples=[None])
    sha256: dict[str, str | None] = Field(
        description="By file; null for a file that was changed or removed since.",
        examples=[{"pocketsphinx/model/en-us/en-us-phone.lm.bin": "0b1c..."}],
    )


class ReceiptTimings(BaseModel):
    """Times of the task. If it shares a render, they start when it joined."""

    created_at: Timestamp = Field(description="UTC, like all times.", examples=["2024-01-15T10:30:00"])
    started_at: Timestamp | None = Field(description="Start of the last attempt.", examples=["2024-01-15T10:30:02"])
    finished_at: Timestamp | None = Field(examples=["2024-01-15T10:30:04"])
    queued_seconds: float = Field(description="Time until the last attempt began.", examples=[2.0])
    render_seconds: float = Field(examples=[2.1])
    attempts: int = Field(examples=[1])


class ReceiptResult(BaseModel):
    """What the video file holds."""

    width: int = Field(examples=[256])
    height: int = Field(examples=[256])
    fps: int = Field(examples=[24])
    frames: int = Field(examples=[198])
    seconds: float = Field(examples=[8.25])
    bytes: int
    sha256: str


class ReceiptMeasured(BaseModel):
    """Measured in the finished video; null if it cannot be measured."""

    frames: int = Field(description="Frames that were measured, from the start.", examples=[198])
    face_found_share: float = Field(description="Share of those frames with a face; 0 to 1.", examples=[1.0])
    lip_lag_frames: int | None = Field(description="Positive: the lips are late.", examples=[0])
    lip_correlation: float | None = Field(
        description="Correlation of lip opening and loudness at that lag; at most 1.",
        examples=[0.78],
    )
    identity_similarity: float | None = Field(
        description="Cosine similarity of face embeddings of the portrait and the video.", examples=[None]
    )
    why_not: list[str] = Field(
        description="Why a figure is null.",
        examples=[["Identity can't be compared: this server has no insightface models"]],
    )


class Receipt(BaseModel):
    """The receipt of a finished task."""

    task_id: str = Field(examples=["f47ac10b-58cc-4372-a567-0e02b2c3d479"])
    inputs: ReceiptInputs
    options: dict[str, Any] = Field(
        description="All options; seed is the one that was used.", examples=[{"emotion": "happy", "seed": 12345}]
    )
    engine: str = Field(examples=["lite"])
    weights: ReceiptWeights
    versions: dict[str, str] = Field(
        description="Versions of this software, the engine, Python and the packages that the result depends on.",
        examples=[{"dice-talk-server": __version__, "lite-engine": "1", "python": "3.11.9"}],
    )
    notes: list[str] = Field(
        description="What the engine says about how the video was made.", examples=[["Computed in float16."]]
    )
    node: str | None = Field(
        None, description="Machine of the Ray cluster that rendered it; null if the server did.", examples=[None]
    )
    timings: ReceiptTimings
    result: ReceiptResult
    labels: FoundLabels | None = Field(description="Labels read from the file; null in receipts of an earlier release.")
    measured: ReceiptMeasured | None = Field(description="null until it was measured: ask again a little later.")
