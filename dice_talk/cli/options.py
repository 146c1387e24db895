"""Command-line options made from `RenderOptions`: a new field appears by itself, with bounds, default and help."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from pydantic import BaseModel, ValidationError

from dice_talk.client import SERVER as LOCAL_SERVER
from dice_talk.client import SERVER_VARIABLE
from dice_talk.emotions import Emotion
from dice_talk.engines import ENGINES, describe_choice
from dice_talk.options import Preset, RenderOptions, preset_values

Model = TypeVar("Model", bound=BaseModel)
Command = TypeVar("Command", bound=Callable[..., Any])
ALL = "all"
_SHORT = {"emotion": "-e"}
_NUMBERS: dict[str, type[click.IntRange] | type[click.FloatRange]] = {
    "integer": click.IntRange,
    "number": click.FloatRange,
}

ENGINE = click.option(
    "--engine",
    type=click.Choice(["auto", *ENGINES]),
    default="auto",
    show_default=True,
    help=describe_choice(),
)
PRESET = click.option(
    "--preset",
    type=click.Choice([preset.value for preset in Preset]),
    help="Several options at once: published is what DICE-Talk's authors use. Options given beside it win.",
)
CHECKPOINTS = click.option(
    "--checkpoints",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("checkpoints"),
    envvar="DICE_TALK_CHECKPOINTS_DIR",
    show_default=True,
    show_envvar=True,
    help="Folder of the diffusion engine's weights.",
)


def _each_once(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> tuple[Emotion, ...]:
    return tuple(Emotion) if ALL in given else tuple(dict.fromkeys(map(Emotion, given)))


EMOTIONS = click.option(
    "-e",
    "--emotion",
    type=click.Choice([*(emotion.value for emotion in Emotion), ALL]),
    required=True,
    multiple=True,
    callback=_each_once,
    help="Emotion of the face, or all. May be given several times, for a video of each.",
)
SERVER = click.option(
    "--server", envvar=SERVER_VARIABLE, default=LOCAL_SERVER, show_default=True, show_envvar=True, metavar="URL"
)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")


def options_of(model: type[BaseModel], chosen: Collection[str] | None = None) -> Callable[[Command], Command]:
    """Return a decorator that gives a command one option per field, or per chosen field."""
    schema = model.model_json_schema()

    def decorate(command: Command) -> Command:
        for name, field in reversed(schema["properties"].items()):
            if chosen is not None and name not in chosen:
                continue
            declared = {"help": field["description"], "required": name in schema.get("required", ())}
            declared |= {"show_default": True, **_kind(schema, field)}
            if field.get("default") is not None:  # to click, None is a default as well
                declared["default"] = field["default"]
            names = [*([_SHORT[name]] if name in _SHORT else []), f"--{name.replace('_', '-')}", name]
            command = click.option(*names, **declared)(command)
        return command

    return decorate


def _kind(schema: Mapping[str, Any], field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the type of an option from its field's JSON schema."""
    field = field.get("anyOf", [field])[0]  # of what may be left out, the other is null
    if reference := field.get("$ref"):
        field = schema["$defs"][reference.rsplit("/", 1)[-1]]
    if "enum" in field:
        return {"type": click.Choice(field["enum"])}
    if field["type"] == "boolean":
        return {"is_flag": True}
    if number := _NUMBERS.get(field["type"]):
        return {"type": number(field.get("minimum"), field.get("maximum"))}
    return {"type": str}


def render_options(given: Mapping[str, object]) -> RenderOptions:
    """Return the options that were typed, and those of a preset, checked by the model itself."""
    values = dict(given)
    preset, source = values.pop("preset", None), click.get_current_context().get_parameter_source
    typed = [name for name in values if source(name) is not ParameterSource.DEFAULT]
    return checked(RenderOptions, {**values, **preset_values(preset, typed)})


def checked(model: type[Model], given: Mapping[str, object]) -> Model:
    """Return a model of what was typed. Raises `UsageError`."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-") if first["loc"] else "options"
        raise click.UsageError(f"--{name}: {first['msg']}") from error
