import ast
import re

from dice_talk.advice import Advice
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidImage
from tests.conftest import ROOT


def test_what_makes_rendering_fail_is_blocking_and_says_what_to_do() -> None:
    advice = Advice.of(
        "too_small",
        InvalidImage(
            ErrorCode.IMAGE_TOO_SMALL,
            "The image is too small: {width} x {height}",
            "Send a larger one.",
            width=9,
            height=9,
        ),
    )
    assert advice == Advice("too_small", "The image is too small: 9 x 9. Send a larger one.", blocking=True)


def test_advice_blocks_nothing_by_itself() -> None:
    assert not Advice("dark_face", "The face is dark.").blocking


def codes() -> set[str]:
    """The codes of all warnings in the source."""
    calls = [
        node
        for file in (ROOT / "dice_talk").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Advice", "Advice.of")
    ]
    return {str(call.args[0].value) for call in calls if call.args and isinstance(call.args[0], ast.Constant)}


def test_every_warning_is_documented_and_translated() -> None:
    document, page = (ROOT / "docs" / "api.md").read_text(), (ROOT / "api" / "web" / "zh.js").read_text()
    translated = set(re.findall(r"^  (\w+): \"", page[page.index("zhAdvice") :], re.MULTILINE))
    assert len(codes()) > 10
    assert [code for code in sorted(codes()) if f"`{code}`" not in document] == []
    assert codes() - translated == {"several_faces"}, "the page numbers the faces instead"
