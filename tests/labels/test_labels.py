import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dice_talk.engines import BUILT_IN
from dice_talk.labels import LabelOptions, Labels


def test_each_engine_says_what_it_makes() -> None:
    assert {spec.name: spec.source_type for spec in BUILT_IN} == {
        "lite": "compositeSynthetic",
        "diffusion": "compositeWithTrainedAlgorithmicMedia",
    }


@pytest.mark.parametrize("text", ["你好", "AI\n生成", "   ", "", "A" * 25, "AI🙂"])
def test_words_that_cannot_be_drawn_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        LabelOptions(visible_label_text=text)


def test_one_half_of_the_pair_is_refused() -> None:
    for name in ("c2pa_certificates", "c2pa_private_key"):
        with pytest.raises(ValidationError, match="needed together"):
            LabelOptions(**{name: "file.pem"})


@pytest.mark.parametrize(
    ("shown", "text", "words"),
    [
        ("off", "both", None),
        ("start", "zh", "AI生成"),
        ("always", "en", "AI-generated"),
        ("always", "both", "AI生成 AI-generated"),
        ("always", "Made here", "Made here"),
    ],
)
def test_what_is_drawn_and_noted(shown: Any, text: str, words: str | None) -> None:
    labels = Labels(visible_label=shown, visible_label_text=text)
    assert labels.words == words
    assert labels.comment_fields == ({"visible_label": {"text": words, "shown": shown}} if words else {})
    without = labels.without_visible()
    assert without.words is None and without.content_producer == labels.content_producer


def test_one_videos_labels_are_the_operators_choice_and_its_own() -> None:
    options = LabelOptions(content_producer="Somebody", visible_label="always", visible_label_corner="top-left")
    labels = Labels.of(options, "an-id", "algorithmicMedia")
    assert LabelOptions.part_of(labels) == options and type(LabelOptions.part_of(labels)) is LabelOptions
    assert (labels.produce_id, labels.source_type, labels.signed) == ("an-id", "algorithmicMedia", False)
    assert json.loads(labels.aigc)["ProduceID"] == "an-id"


def test_a_key_means_a_signature() -> None:
    labels = Labels(c2pa_certificates=Path("chain.pem"), c2pa_private_key=Path("key.pem"))
    assert labels.signed and not Labels().signed
