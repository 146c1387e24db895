"""The options of a request."""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import Field, HttpUrl, ValidationError

from api.tasks.model import Render
from dice_talk.engines import EngineChoice, describe_choice
from dice_talk.options import LEFT_EMPTY, PRESETS, Flag, Preset, RenderOptions, preset_values

MAX_PAGE = 100


class TaskOptions(RenderOptions):
    """All options of `RenderOptions`, and those of the service."""

    engine: EngineChoice = Field("auto", description=describe_choice())
    callback_url: HttpUrl | None = Field(
        None,
        json_schema_extra=LEFT_EMPTY,
        description="Public http or https address that receives a signed POST (Standard Webhooks) when the task ends.",
    )

    preset: Preset | None = Field(
        None,
        json_schema_extra={**LEFT_EMPTY, "x-presets": {name.value: dict(values) for name, values in PRESETS.items()}},
        description="Several options at once: published is what DICE-Talk's authors use. Options given beside it win.",
    )
    visible_label: Flag = Field(True, description="false: without the visible label, if the operator allows that.")

    def options(self) -> RenderOptions:
        """Return the options that engines use."""
        return RenderOptions(**{name: getattr(self, name) for name in RenderOptions.model_fields})

    @classmethod
    def of(cls, render: Render, changes: Mapping[str, object]) -> "TaskOptions":
        """Return a render's options with changes. A seed that was drawn is drawn again.

        Raises `RequestValidationError`.
        """
        kept = {**render.options.model_dump(), "engine": render.engine}
        if render.cache_key is None or changes.get("preset"):
            kept["seed"] = None
        kept |= preset_values(changes.get("preset"), changes)
        try:
            return cls.model_validate({**kept, **changes})
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error


def _bounds(schema: dict[str, Any]) -> tuple[float, float] | None:
    number = schema.get("anyOf", [schema])[0]
    return (number["minimum"], number["maximum"]) if "minimum" in number else None


BOUNDS = {
    name: bounds
    for name, schema in RenderOptions.model_json_schema()["properties"].items()
    if (bounds := _bounds(schema))
} | {"limit": (1, MAX_PAGE)}
"""Lowest and highest value by field name, for error messages."""

MAY_BE_EMPTY = frozenset(
    name
    for name, schema in TaskOptions.model_json_schema()["properties"].items()
    if not {"$ref", "enum"} & schema.keys()
)
"""Options that may be empty in a form, as browsers send them if they are not filled in. Choices may not."""
