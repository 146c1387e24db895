"""Forms that carry files, as `receive_form` reads them."""

from pathlib import Path
from typing import Any

from fastapi import UploadFile
from pydantic import BaseModel, Field, create_model

from api.http.uploads import StoredFile
from api.schemas.options import TaskOptions
from api.storage.files import Upload
from dice_talk.emotions import Emotion
from dice_talk.engines import EngineChoice
from dice_talk.options import PREFLIGHT_OPTIONS, TIMING_OPTIONS, RenderOptions


class RenderForm(TaskOptions):
    """The form that starts a task: two files and all options."""

    image: UploadFile = Field(description="Portrait with a clear face: JPEG or PNG, at most 10 MB.")
    audio: UploadFile = Field(description="Clear speech: WAV or MP3, at most 50 MB.")

    def upload(self) -> Upload:
        """Return the two files in staging."""
        image, audio = stored(self.image), stored(self.audio)
        return Upload(image.path, audio.path, image.sha256, audio.sha256)


_OPTION_NAMES = (*PREFLIGHT_OPTIONS, *TIMING_OPTIONS)
_options: Any = {
    name: (field.annotation, field) for name, field in RenderOptions.model_fields.items() if name in _OPTION_NAMES
}
_PreflightOptions: Any = create_model("_PreflightOptions", __config__=RenderOptions.model_config, **_options)


class PreflightForm(_PreflightOptions):
    """A portrait, a recording or both, and the options that decide how they would be used."""

    image: UploadFile | None = Field(None, description=RenderForm.model_fields["image"].description)
    audio: UploadFile | None = Field(None, description=RenderForm.model_fields["audio"].description)
    engine: EngineChoice = Field("auto", description=RenderForm.model_fields["engine"].description)

    def options(self) -> RenderOptions:
        """Return the options that preflight depends on. The emotion changes nothing."""
        return RenderOptions(emotion=Emotion.NEUTRAL, **{name: getattr(self, name) for name in _OPTION_NAMES})

    def paths(self) -> tuple[Path | None, Path | None]:
        """Return the image's and the audio's path; None if it was not sent."""
        return (stored(self.image).path if self.image else None, stored(self.audio).path if self.audio else None)


class VideoForm(BaseModel):
    """The form that verifies a video."""

    model_config = {"extra": "forbid"}

    video: UploadFile = Field(description="MP4, at most 500 MB.")


def stored(file: UploadFile) -> StoredFile:
    """Return the file as `receive_form` stored it."""
    if not isinstance(file, StoredFile):
        raise TypeError("the form was not read by receive_form")
    return file
