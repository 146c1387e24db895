"""Uploads are looked at once, and what was found is remembered for a while."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.inspection import intake
from api.inspection.children import Children
from api.inspection.intake import Inputs, Inspector
from api.storage.files import Upload
from dice_talk.errors import DiceTalkError, InvalidAudio, InvalidImage

FACTS = {"width": 360, "height": 240, "seconds": 8.25}


class Counting(Children):
    """Says what it is told to, and notes what it was asked."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        super().__init__()
        self.answers, self.asked = list(answers), list[tuple[str, ...]]()

    async def ask(self, module: str, *arguments: str, seconds: float) -> dict[str, Any]:
        self.asked.append((module, *arguments))
        await asyncio.sleep(0)
        return dict(self.answers.pop(0) if self.answers else FACTS)


def upload(name: str = "a") -> Upload:
    folder = Path(name)
    return Upload(folder / "image", folder / "audio", f"image {name}", f"audio {name}")


def test_what_is_found_and_how_much_is_looked_at() -> None:
    warning = {"code": "silent_audio", "message": "x", "blocking": False}
    children = Counting(FACTS | {"warnings": [warning]})
    found = asyncio.run(Inspector(children).inspect(upload(), 2.5))
    assert found == Inputs(360, 240, 8.25, [warning])
    assert children.asked == [("dice_talk.intake", "a/image", "a/audio", "300.0", "2.5")]


def test_the_same_files_are_looked_at_once() -> None:
    children = Counting()
    inspector = Inspector(children)

    async def scenario() -> None:
        for _ in range(2):
            await inspector.inspect(upload())
        await asyncio.gather(*(inspector.inspect(upload("b")) for _ in range(4)))

    asyncio.run(scenario())
    assert len(children.asked) == 3, "two of one client may begin at the same time; the others find what these found"


@pytest.mark.parametrize("other", [replace(upload(), image_hash="other"), replace(upload(), audio_hash="other")])
def test_other_files_are_looked_at(other: Upload) -> None:
    children = Counting()
    inspector = Inspector(children)
    asyncio.run(inspector.inspect(upload()))
    asyncio.run(inspector.inspect(other))
    asyncio.run(inspector.inspect(upload(), 1.0))
    asyncio.run(inspector.inspect(replace(upload("elsewhere"), image_hash="image a", audio_hash="audio a")))
    assert len(children.asked) == 3, "where they lie makes no difference, how much is wanted does"


def test_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "REMEMBERED", 2)
    children = Counting()
    inspector = Inspector(children)
    inspections = []
    for name in "aabacab":  # c pushes out b, which was asked for longest ago
        asyncio.run(inspector.inspect(upload(name)))
        inspections.append(len(children.asked))
    assert inspections == [1, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize(
    ("facts", "error", "words"),
    [
        ({}, InvalidImage, "The image can't be decoded"),
        ({"width": 1, "height": 1}, InvalidAudio, "The audio can't be decoded"),
    ],
)
def test_what_was_not_finished_is_not_remembered(facts: dict[str, Any], error: type[DiceTalkError], words: str) -> None:
    children = Counting(facts)
    inspector = Inspector(children)
    with pytest.raises(error, match=words) as refused:
        asyncio.run(inspector.inspect(upload()))
    assert refused.value.detail == "Reading it took too much memory or time."
    assert asyncio.run(inspector.inspect(upload())) == Inputs(360, 240, 8.25)
