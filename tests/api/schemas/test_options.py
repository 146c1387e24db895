"""What a client may ask for, and how a retry changes it."""

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.schemas.options import BOUNDS, MAX_PAGE, MAY_BE_EMPTY, TaskOptions
from dice_talk.options import RenderOptions
from tests.api.made import make_render


def test_a_retry_keeps_all_that_is_not_changed() -> None:
    options = RenderOptions(emotion="sad", seed=5, fps=30, quality="fast")
    render = make_render(options=options, cache_key="key", engine="diffusion")
    same = TaskOptions.of(render, {})
    assert (same.options(), same.engine, same.callback_url, same.visible_label) == (options, "diffusion", None, True)
    changed = TaskOptions.of(render, {"emotion": "happy", "engine": "lite"})
    assert (changed.emotion, changed.engine, changed.fps, changed.seed) == ("happy", "lite", 30, 5)


def test_a_preset_replaces_what_a_retry_keeps() -> None:
    options = RenderOptions(emotion="sad", seed=5, fps=30, quality="fast", crop=True)
    render = make_render(options=options, cache_key="key")
    published = TaskOptions.of(render, {"preset": "published", "fps": 60})
    assert (published.min_resolution, published.seed, published.fps, published.crop) == (512, 72589, 60, True)
    standard = TaskOptions.of(render, {"preset": "standard"})
    assert standard.options() == RenderOptions(emotion="sad", crop=True)
    with pytest.raises(RequestValidationError):
        TaskOptions.of(render, {"preset": "best"})


def test_a_drawn_seed_is_drawn_anew() -> None:
    assert TaskOptions.of(make_render(cache_key=None), {}).seed is None
    assert TaskOptions.of(make_render(cache_key=None), {"seed": 7}).seed == 7
    assert TaskOptions.of(make_render(cache_key="key"), {"seed": None}).seed is None


@pytest.mark.parametrize("changes", [{"fps": 7}, {"colour": "red"}, {"emotion": "bored"}, {"fps": "2_4"}])
def test_changes_that_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RequestValidationError):
        TaskOptions.of(make_render(), changes)


def test_bounds_are_those_that_are_checked() -> None:
    assert BOUNDS["fps"] == (8, 60)
    assert BOUNDS["limit"] == (1, MAX_PAGE)
    assert BOUNDS["duration"] == (0.1, 300.0)
    assert BOUNDS["seed"] == (0, 2**31 - 1)
    for name, bounds in BOUNDS.items():
        if name != "limit":
            for value in bounds:
                RenderOptions.model_validate({"emotion": "sad", name: value})
            for value in (bounds[0] - 1, bounds[1] + 1):
                with pytest.raises(ValidationError):
                    RenderOptions.model_validate({"emotion": "sad", name: value})


def test_what_a_form_may_leave_empty() -> None:
    assert {"emotion", "engine", "quality"}.isdisjoint(MAY_BE_EMPTY), "a choice is made or left out"
    assert {"seed", "duration", "fps", "crop", "callback_url", "preset"} <= MAY_BE_EMPTY


def test_only_options_of_engines_reach_engines() -> None:
    asked = TaskOptions(emotion="sad", engine="lite", visible_label=False)
    assert type(asked.options()) is RenderOptions
    assert asked.options() == RenderOptions(emotion="sad")
