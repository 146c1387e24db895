"""All options of a request, defined once: name, type, bounds, default and meaning.

The HTTP form, the OpenAPI document, the cache key and the metadata of the result are derived from `RenderOptions`.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from dice_talk.emotions import Emotion

MAX_DURATION_S = 300.0
MIN_RESOLUTION = 128
MAX_SEED = 2**31 - 1


def _strict_bool(value: object) -> object:
    """Accept only true, false, 1 and 0 (in any case) as booleans. Pydantic alone would also accept "yes" or "off"."""
    if isinstance(value, str):
        words: dict[str, object] = {"true": True, "1": True, "false": False, "0": False}
        return words.get(value.strip().lower(), value if value.strip() == "" else "not a boolean")
    return value


def _plain_number(value: object) -> object:
    """Reject Python's own number format, such as 2_4 for 24."""
    return "not a number" if isinstance(value, str) and "_" in value else value


PLAIN = BeforeValidator(_plain_number)  # after the bounds, which otherwise stay out of the OpenAPI document
Number = Annotated[float, Field(allow_inf_nan=False), PLAIN]
Whole = Annotated[int, PLAIN]
Flag = Annotated[bool, BeforeValidator(_strict_bool)]


LEFT_EMPTY: dict[str, JsonValue] = {"example": ""}
"""Without this, Swagger UI fills in the lowest value of an optional number, such as a video of 0.1 s."""


class Quality(StrEnum):
    """How far the diffusion engine may approximate to save time."""

    EXACT = "exact"
    BALANCED = "balanced"
    FAST = "fast"


class RenderOptions(BaseModel):
    """The options of one video. Bounds are inclusive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    emotion: Emotion = Field(description="Emotion of the face.", examples=["happy"])
    ref_scale: Number = Field(
        3.0,
        ge=0.0,
        le=10.0,
        description="How closely the result keeps to the portrait (guidance on the reference).",
    )
    emo_scale: Number = Field(6.0, ge=0.0, le=10.0, description="How strongly the emotion and the speech show.")
    crop: Flag = Field(False, description="Crop the image to a square around the face first.")
    inference_steps: Whole = Field(
        20, ge=8, le=50, description="Denoising steps of the diffusion engine; the lite engine has none."
    )
    duration: Annotated[float, Field(ge=0.1, le=MAX_DURATION_S, allow_inf_nan=False), PLAIN] | None = Field(
        None,
        json_schema_extra=LEFT_EMPTY,
        description="Longest video in seconds; it never outlasts the audio. Default: the audio's length, at most 300.",
    )
    fps: Whole = Field(24, ge=8, le=60, description="Frames per second of the video.")
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), PLAIN] | None = Field(
        None,
        json_schema_extra=LEFT_EMPTY,
        description="Decides everything random: the same seed gives the same video. Default: drawn.",
    )
    dynamic_scale: Number = Field(1.0, ge=0.1, le=3.0, description="How lively head and face move.")
    min_resolution: Whole = Field(
        256,
        ge=MIN_RESOLUTION,
        le=2048,
        description="Shorter side of the video in pixels; both sides become multiples of 64.",
    )
    expand_ratio: Number = Field(
        0.5,
        ge=0.1,
        le=2.0,
        description="With crop: how far the face box grows on each side, as a share of its size.",
    )
    quality: Quality = Field(
        Quality.EXACT,
        description="Whether the diffusion engine may approximate to be faster; the lite engine has one way only.",
    )
    face_index: Whole = Field(
        0, ge=0, le=99, description="Which face to animate where there are several: 0 is the largest, 1 the next."
    )


PREFLIGHT_OPTIONS = ("crop", "duration", "min_resolution", "expand_ratio", "face_index")
"""The options that a preflight depends on."""
TIMING_OPTIONS = ("fps", "inference_steps", "quality")
"""The options that, in addition, affect the rendering time."""


class Preset(StrEnum):
    """Names for some options together."""

    DRAFT = "draft"
    STANDARD = "standard"
    PUBLISHED = "published"


_PUBLISHED: dict[str, Any] = {
    "min_resolution": 512,
    "inference_steps": 25,
    "fps": 25,
    "seed": 72589,
    "ref_scale": 3.0,
    "emo_scale": 6.0,
    "quality": Quality.EXACT.value,
}
"""What DICE-Talk's authors use."""
_STANDARD = {name: RenderOptions.model_json_schema()["properties"][name].get("default") for name in _PUBLISHED}
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    Preset.DRAFT: {**_STANDARD, "inference_steps": 10, "quality": Quality.FAST.value},
    Preset.STANDARD: _STANDARD,
    Preset.PUBLISHED: _PUBLISHED,
}
"""Each names the same options. None: left open."""


def preset_values(preset: object, given: Collection[str]) -> dict[str, Any]:
    """Return the options that a preset adds to those that were `given`, which win; {} for what is no preset."""
    values = next((values for name, values in PRESETS.items() if name == preset), {})
    return {name: value for name, value in values.items() if value is not None and name not in given}
