"""What would become of a portrait and a recording, found by `dice_talk.preflight` in a child process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import UploadFile
from pydantic import BaseModel, Field, create_model

from api import eta
from api.children import Children
from api.errors import InvalidValue
from api.inspection import undecodable_audio, undecodable_image
from api.places import Places
from api.schemas import InputWarning, RenderForm, SecondsRange
from api.settings import Settings
from api.uploads import StoredFile
from dice_talk.emotions import Emotion
from dice_talk.engine import EngineChoice, choose_engine
from dice_talk.options import LOOKED_AT, TIMED, RenderOptions

TIMEOUT_S = 60.0

_TAKEN = (*LOOKED_AT, *TIMED)
_options: Any = {
    name: (field.annotation, field) for name, field in RenderOptions.model_fields.items() if name in _TAKEN
}
_LookedAt: Any = create_model("_LookedAt", __config__=RenderOptions.model_config, **_options)


class PreflightForm(_LookedAt):
    """A portrait, a recording or both, and what decides how they would be used."""

    image: UploadFile | None = Field(None, description=RenderForm.model_fields["image"].description)
    audio: UploadFile | None = Field(None, description=RenderForm.model_fields["audio"].description)
    engine: EngineChoice = Field("auto", description=RenderForm.model_fields["engine"].description)

    def options(self) -> RenderOptions:
        """Of a video that nobody has asked for yet: which emotion it shows changes nothing."""
        return RenderOptions(emotion=Emotion.NEUTRAL, **{name: getattr(self, name) for name in _TAKEN})


class Size(BaseModel):
    """In pixels."""

    width: int = Field(examples=[256])
    height: int = Field(examples=[256])


class Rectangle(Size):
    """In pixels of the picture, upright."""

    left: int = Field(examples=[134])
    top: int = Field(examples=[60])


class Face(Rectangle):
    """A face that can be animated."""

    index: int = Field(description="What to send as face_index; 0 is the largest.", examples=[0])


class ImageFound(Size):
    """What a portrait holds."""

    faces: list[Face] = Field(description="Those that the engine can animate, largest first.")
    crop: Rectangle | None = Field(description="With crop: what will be cut out.")
    output: Size | None = Field(description="Of the video; null when it would be too large.")
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
    level_dbfs: float = Field(description="Of the loud syllables; -20 is usual, -100 is silence.", examples=[-21.1])
    peak_dbfs: float = Field(examples=[-8.3])
    clipped_share: float = Field(description="Of the samples, cut off at full scale; 0 to 1.", examples=[0.0])
    silent_share: float = Field(description="Of the time; 0 to 1.", examples=[0.34])


class PreflightFound(BaseModel):
    """What would become of the files."""

    image: ImageFound | None = Field(description="null when no image was sent.")
    audio: AudioFound | None = Field(description="null when no audio was sent.")
    warnings: list[InputWarning]
    engine: str = Field(description="Which engine would render: lite or diffusion.", examples=["lite"])
    eta_seconds: SecondsRange | None = Field(
        description="How long rendering would take, without waiting; null when that is not known. It needs an image, "
        "and audio or a duration.",
        examples=[{"low": 1.1, "high": 2.4}],
    )


class Preflight:
    """Looks at files that nobody has asked to render, a few at a time."""

    def __init__(
        self, settings: Settings, children: Children, foresee: Callable[[eta.Size], SecondsRange | None]
    ) -> None:
        """`foresee`: how long a render of that size takes; None where nobody knows."""
        self._settings, self._children, self._foresee = settings, children, foresee
        self._places = Places()

    async def look(self, form: PreflightForm) -> PreflightFound:
        """Raises `DiceTalkError` for whichever file can't be used, `InvalidValue` when there is none, and what
        `Places` raises.
        """
        image, audio = _path(form.image), _path(form.audio)
        if not (image or audio):
            raise InvalidValue("Neither image nor audio was sent", "Send one of them, or both.")
        wish = self._settings.engine if form.engine == "auto" else form.engine
        engine = choose_engine(wish, self._settings.checkpoints_dir)
        options = form.options()
        async with self._places.one():
            found = await self._children.ask(
                "dice_talk.preflight",
                engine,
                options.model_dump_json(),
                str(image or "-"),
                str(audio or "-"),
                seconds=TIMEOUT_S,
            )
        if image and "image" not in found:
            raise undecodable_image()
        if audio and "audio" not in found:
            raise undecodable_audio()
        parts = [found[name] for name in ("image", "audio") if name in found]
        warnings = [warning for part in parts for warning in part.pop("warnings")]
        answer = PreflightFound(
            image=found.get("image"), audio=found.get("audio"), warnings=warnings, engine=engine, eta_seconds=None
        )
        seconds = answer.audio.used_seconds if answer.audio else options.duration
        if answer.image and answer.image.output and seconds:
            video = answer.image.output
            answer.eta_seconds = self._foresee(eta.Size.of(engine, options, video.width * video.height, seconds))
        return answer


def _path(file: UploadFile | None) -> Path | None:
    if file is None:
        return None
    if not isinstance(file, StoredFile):
        raise TypeError("the form was not read by receive_form")
    return file.path
