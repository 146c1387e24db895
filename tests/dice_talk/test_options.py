import pytest
from pydantic import ValidationError

from api.schemas.options import BOUNDS
from dice_talk.options import PRESETS, Preset, RenderOptions, preset_values

DOCUMENTED = {
    # name: lowest, highest, default (API document, "启动数字人合成任务")
    "ref_scale": (0.0, 10.0, 3.0),
    "emo_scale": (0.0, 10.0, 6.0),
    "inference_steps": (8, 50, 20),
    "duration": (0.1, 300.0, None),
    "fps": (8, 60, 24),
    "seed": (0, 2147483647, None),
    "dynamic_scale": (0.1, 3.0, 1.0),
    "min_resolution": (128, 2048, 256),
    "expand_ratio": (0.1, 2.0, 0.5),
}
ADDED = {"face_index": (0, 99, 0)}
"""Options that the document doesn't have."""


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_bounds_and_defaults(name: str) -> None:
    low, high, default = DOCUMENTED[name]
    assert BOUNDS[name] == (low, high)
    assert getattr(RenderOptions(emotion="sad"), name) == default
    for value in (low, high):
        assert getattr(RenderOptions.model_validate({"emotion": "sad", name: str(value)}), name) == value
    for value in (low - 0.01 if isinstance(low, float) else low - 1, high + 1):
        with pytest.raises(ValidationError):
            RenderOptions.model_validate({"emotion": "sad", name: str(value)})


def test_every_number_has_documented_bounds() -> None:
    assert set(BOUNDS) == {*DOCUMENTED, *ADDED, "limit"}, "limit is that of the list of tasks"
    assert {name: (*BOUNDS[name], getattr(RenderOptions(emotion="sad"), name)) for name in ADDED} == ADDED


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_infinity_is_not_a_number(value: str) -> None:
    with pytest.raises(ValidationError, match="finite"):
        RenderOptions.model_validate({"emotion": "sad", "ref_scale": value})


@pytest.mark.parametrize(("text", "value"), [("true", True), ("0", False), ("False", False), ("1", True)])
def test_booleans(text: str, value: bool) -> None:
    assert RenderOptions.model_validate({"emotion": "sad", "crop": text}).crop is value


@pytest.mark.parametrize("text", ["yes", "on", "2", "t", ""])
def test_other_words_are_no_booleans(text: str) -> None:
    with pytest.raises(ValidationError):
        RenderOptions.model_validate({"emotion": "sad", "crop": text})


def test_presets_name_the_same_options_with_values_that_are_allowed() -> None:
    assert len({frozenset(values) for values in PRESETS.values()}) == 1
    for preset in PRESETS:
        RenderOptions(emotion="sad", **preset_values(preset, ()))
    assert RenderOptions(emotion="sad", **preset_values("standard", ())) == RenderOptions(emotion="sad")


def test_what_the_authors_use() -> None:
    wanted = {"min_resolution": 512, "inference_steps": 25, "fps": 25, "seed": 72589, "ref_scale": 3, "emo_scale": 6}
    found = RenderOptions(emotion="sad", **preset_values("published", ())).model_dump()
    assert {name: found[name] for name in wanted} == wanted and found["quality"] == "exact"


def test_options_beside_a_preset_win() -> None:
    assert preset_values("published", ["seed", "fps", "crop"]).keys() == PRESETS[Preset.PUBLISHED].keys() - {
        "seed",
        "fps",
    }


@pytest.mark.parametrize("word", [None, "", "best", ["published"], 3])
def test_what_is_no_preset_adds_nothing(word: object) -> None:
    assert preset_values(word, ()) == {}
