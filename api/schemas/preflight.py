"""What is found in a portrait and a recording before a task begins."""

from pydantic import BaseModel, Field

from api.schemas.tasks import ENGINE_NAMES, InputWarning, SecondsRange


class PixelSize(BaseModel):
    """A size in pixels."""

    width: int = Field(examples=[256])
    height: int = Field(examples=[256])


class Rectangle(PixelSize):
    """A rectangle in pixels of the upright picture."""

    left: int = Field(examples=[134])
    top: int = Field(examples=[60])


class Face(Rectangle):
    """A face that can be animated."""

    index: int = Field(description="Value for face_index; 0 is the largest face.", examples=[0])


class ImageFound(PixelSize):
    """What a portrait holds."""

    faces: list[Face] = Field(description="Faces that the engine can animate, largest first.")
    crop: Rectangle | None = Field(description="The square that crop would cut out.")
    output: PixelSize | None = Field(description="Size of the video; null if it would be too large.")
    overlay: str = Field(
        description="A JPEG, at most 640 pixels a side, with the faces numbered and the crop drawn, as a data URL.",
        examples=["data:image/jpeg;base64,/9j/4AAQSkZJRg..."],
    )


class AudioFound(BaseModel):
    """What a recording holds. Levels in dB below full scale."""

    seconds: float = Field(examples=[8.25])
    used_seconds: float = Field(description="How long the video will be.", examples=[8.25])
    sample_rate: int = Field(description="Hz.", examples=[24000])
    channels: int = Field(examples=[1])
    level_dbfs: float = Field(
        description="Level of the loud syllables; -20 is usual, -100 is silence.", examples=[-21.1]
    )
    peak_dbfs: float = Field(examples=[-8.3])
    clipped_share: float = Field(description="Share of samples that are clipped; 0 to 1.", examples=[0.0])
    silent_share: float = Field(description="Share of the time that is silent; 0 to 1.", examples=[0.34])


class PreflightFound(BaseModel):
    """What would become of the files."""

    image: ImageFound | None = Field(description="null if no image was sent.")
    audio: AudioFound | None = Field(description="null if no audio was sent.")
    warnings: list[InputWarning]
    engine: str = Field(description=f"Which engine would render: {ENGINE_NAMES}.", examples=["lite"])
    eta_seconds: SecondsRange | None = Field(
        description="How long rendering would take, without waiting; null if that is not known. It needs an image, "
        "and audio or a duration.",
        examples=[{"low": 1.1, "high": 2.4}],
    )
