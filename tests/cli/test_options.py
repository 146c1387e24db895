"""Options derive from the model: a new field appears by itself."""

from typing import Any

import click
import pytest
from pydantic import Field

from dice_talk.__main__ import commands
from dice_talk.cli.options import EMOTIONS, PRESET, options_of, render_options
from dice_talk.emotions import Emotion
from dice_talk.options import RenderOptions


class Future(RenderOptions):
    tone: int = Field(3, ge=1, le=9, description="A field of tomorrow.")
    word: str | None = Field(None, description="Another one.")


def parameters(command: click.Command) -> dict[str, Any]:
    return {parameter.name: parameter for parameter in command.params if parameter.name}


@pytest.mark.parametrize("name", ["render", "submit"])
def test_every_option_with_its_bounds_default_and_help(name: str) -> None:
    options = parameters(commands.commands[name])
    for field, schema in RenderOptions.model_json_schema()["properties"].items():
        option = options[field]
        number = schema.get("anyOf", [schema])[0]
        assert f"--{field.replace('_', '-')}" in option.opts
        assert option.help.startswith(schema["description"].rstrip("."))
        assert option.required == (field == "emotion")
        if "minimum" in number:
            assert (option.type.min, option.type.max) == (number["minimum"], number["maximum"])
        if schema.get("default") is not None:
            assert option.default == schema["default"]


def test_a_new_field_appears_by_itself() -> None:
    @click.command
    @options_of(Future)
    def command(**given: Any) -> Any:
        return given

    given = command.main(["-e", "sad", "--tone", "4"], standalone_mode=False)
    assert Future.model_validate(given) == Future(emotion=Emotion.SAD, tone=4)
    with pytest.raises(click.BadParameter, match="1<=x<=9"):
        command.main(["-e", "sad", "--tone", "10"], standalone_mode=False)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ([], RenderOptions(emotion="sad")),
        (["--preset", "standard"], RenderOptions(emotion="sad")),
        (
            ["--preset", "published"],
            RenderOptions(emotion="sad", min_resolution=512, inference_steps=25, fps=25, seed=72589),
        ),
        (
            ["--fps", "24", "--preset", "published", "--seed", "1"],  # 24 is the default, and typed all the same
            RenderOptions(emotion="sad", min_resolution=512, inference_steps=25, fps=24, seed=1),
        ),
    ],
)
def test_options_beside_a_preset_win(typed: list[str], wanted: RenderOptions) -> None:
    @click.command
    @options_of(RenderOptions)
    @PRESET
    def command(**given: Any) -> Any:
        return render_options(given)

    assert command.main(["-e", "sad", *typed], standalone_mode=False) == wanted


@pytest.mark.parametrize(
    ("typed", "emotions"),
    [
        (["-e", "sad"], (Emotion.SAD,)),
        (["-e", "sad", "--emotion", "fear", "-e", "sad"], (Emotion.SAD, Emotion.FEAR)),
        (["-e", "fear", "-e", "all"], tuple(Emotion)),
    ],
)
def test_several_emotions(typed: list[str], emotions: tuple[Emotion, ...]) -> None:
    @click.command
    @EMOTIONS
    def command(emotion: Any) -> Any:
        return emotion

    assert command.main(typed, standalone_mode=False) == emotions
