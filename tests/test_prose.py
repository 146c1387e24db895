"""What is written for people keeps to one form: widths, tables and punctuation."""

import ast
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_project import DOCUMENTS

WIDTH = 120
"""Columns of a line of prose; a Chinese character takes two."""
CELL = 140
"""Characters in a cell of a table: figures and names, no paragraphs."""
CHINESE = [path for path in DOCUMENTS if path.name.endswith(".zh-CN.md")]
CJK = r"[\u3001-\u3011\u4e00-\u9fff\uff01-\uff5e“”…]"
HALF_WIDTH = re.compile(rf"(?<={CJK})[*\s]*[,.:;?!()]|[,:;?!()][*\s]*(?={CJK})")
"""Beside a Chinese character or its punctuation; Latin words and figures keep theirs."""


def prose(text: str) -> Iterator[str]:
    """Lines outside blocks of code."""
    code = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            code = not code
        elif not code:
            yield line


def is_row(line: str) -> bool:
    return line.startswith("|")


def columns(line: str) -> int:
    """What a line takes on the screen, without the addresses of its links."""
    shown = re.sub(r"\]\([^)]*\)", "]", line)
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in shown)


def named(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("document", DOCUMENTS, ids=named(DOCUMENTS))
def test_lines_of_prose_are_at_most_120_wide(document: Path) -> None:
    lines = [line for line in prose(document.read_text()) if not is_row(line)]
    assert [line for line in lines if columns(line) > WIDTH] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named(DOCUMENTS))
def test_cells_hold_no_paragraphs(document: Path) -> None:
    rows = [line for line in prose(document.read_text()) if is_row(line)]
    cells = [cell.strip() for row in rows for cell in row.strip("|").split("|")]
    assert [cell for cell in cells if len(cell) > CELL] == []


@pytest.mark.parametrize("document", CHINESE, ids=named(CHINESE))
def test_chinese_has_full_width_punctuation(document: Path) -> None:
    assert [line for line in prose(document.read_text()) if HALF_WIDTH.search(words_of(line))] == []


def words_of(line: str) -> str:
    """A line without code and the addresses of its links, which have punctuation of their own."""
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", line))


@pytest.mark.parametrize("script", ["zh.js", "zh-errors.js"])
def test_chinese_on_the_page_has_full_width_punctuation(script: str) -> None:
    """A value that is filled in may be Chinese."""
    strings = re.findall(r'"((?:[^"\\\n]|\\.)*)"', (ROOT / "api" / "web" / script).read_text())
    chinese = [text for text in strings if re.search(CJK, text)]
    assert len(chinese) > 100
    assert [text for text in chinese if HALF_WIDTH.search(re.sub(r"\{\w+\}", "值", text))] == []


def outline(text: str) -> list[str]:
    """Marks of headings, list items and rows in order; empty for a paragraph."""
    found, before = [], ""
    for line in prose(text):
        mark = line[: len(line) - len(line.lstrip("#-|"))]
        if mark or (line and not before):
            found.append(mark)
        before = line
    return found


@pytest.mark.parametrize("document", CHINESE, ids=named(CHINESE))
def test_both_languages_have_the_same_parts(document: Path) -> None:
    english = document.with_name(document.name.replace(".zh-CN", ""))
    assert outline(document.read_text()) == outline(english.read_text())


def test_what_is_measured() -> None:
    text = "a [link](https://example.org/long) 汉\n```\ncode\n```\n| cell |"
    assert [columns(line) for line in prose(text)] == [len("a [link] ") + 2, len("| cell |")]
    assert outline("# Head\n\nTwo\nlines\n\n- item\n  goes on\n| cell |") == ["#", "", "-", "|"]
    for wrong in ("汉字,汉字", "汉字, abc", "汉字.", "汉字 (abc)", "**汉字**:", "（汉字）.", "abc, 汉字", "abc!汉字"):
        assert HALF_WIDTH.search(wrong), wrong
    for right in (
        "汉字，汉字 a, b",
        "a (b) c，汉字",
        "1.5 汉字",
        "1. 汉字",
        "https://example.org 汉字",
        "汉字 v1.2: a",
    ):
        assert not HALF_WIDTH.search(right), right
    assert not HALF_WIDTH.search(words_of("[汉字](a.md)，见 `汉字.`"))


DOCSTRINGS = sorted(
    file
    for folder in ("api", "benchmarks", "dice_talk", "examples", "scripts", "tests")
    for file in (ROOT / folder).rglob("*.py")
)


def test_no_docstring_begins_with_of() -> None:
    """Below a constant or a field, too."""
    texts = {
        (str(file.relative_to(ROOT)), node.lineno): node.value.value
        for file in DOCSTRINGS
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    assert len(texts) > 1000
    assert [place for place, text in texts.items() if text.lstrip().startswith("Of ")] == []
