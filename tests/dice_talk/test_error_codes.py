"""One table of codes: all of it is used, as it says, and documents and page know every code."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Formatter

import pytest

from api.http.routes import examples
from dice_talk import image_file
from dice_talk.engines import ENGINES
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError, InvalidImage
from tests.conftest import ROOT
from tests.error_bodies import check_error

TABLE = ROOT / "dice_talk" / "error_codes.py"
FILES = [file for package in ("api", "dice_talk") for file in (ROOT / package).rglob("*.py") if file != TABLE]
STATUS = {
    "InvalidValue": 400,
    "TaskNotCompleted": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "Conflict": 409,
    "UploadTimeout": 408,
    "UploadTooLarge": 413,
    "MalformedForm": 422,
    "TooManyRequests": 429,
    "QueueFull": 503,
    "Unavailable": 503,
}
"""What the names of the errors in `api.errors` promise."""
IN_ENGLISH = {"kind", "step", "allowed", "what", "faces", "send", "missing", "remedy", "reason", "advice"}
"""Values that are English words, so no translation may show them."""


def code_in(node: ast.AST) -> ErrorCode | None:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ErrorCode":
        return ErrorCode.__members__.get(node.attr)
    return None


def errors_made() -> Iterator[tuple[Path, ast.Call, ErrorCode]]:
    """Call whose first argument is a code."""
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args and (code := code_in(node.args[0])):
                yield file, node, code


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def sentences(call: ast.Call) -> Iterator[str]:
    """The words of an error, as far as they are written where it is made."""
    for argument in call.args[1:]:
        for part in ast.walk(argument):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def test_every_code_is_used() -> None:
    used = {code_in(node) for file in FILES for node in ast.walk(ast.parse(file.read_text()))}
    assert set(ErrorCode) <= used


@pytest.mark.parametrize(
    ("file", "call", "code"),
    list(errors_made()),
    ids=[f"{file.stem}-{call.lineno}-{code}" for file, call, code in errors_made()],
)
def test_errors_have_the_values_of_their_code(file: Path, call: ast.Call, code: ErrorCode) -> None:
    function = ast.unparse(call.func)
    given = {keyword.arg for keyword in call.keywords}
    if function in STATUS:
        assert code.status == STATUS[function]
    if function == "_example" or None in given:  # other tests look at what is given as a dictionary
        return
    assert given == set(code.params)
    if code.params:
        assert {name for text in sentences(call) for name in placeholders(text)} <= given
    if code.params:  # what varies is a value
        assert not [part for word in call.args for part in ast.walk(word) if isinstance(part, ast.JoinedStr)]


def test_statuses_of_answers_that_are_made_without_an_exception() -> None:
    found = 0
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "respond" and len(node.args) > 1:
                code, status = code_in(node.args[1]), node.args[0]
                if code and isinstance(status, ast.Constant):
                    assert code.status == status.value
                    found += 1
    assert found


def test_every_example_of_the_openapi_document_is_an_error_of_its_status() -> None:
    bodies = {name: body for name, body in vars(examples).items() if name.isupper() and "code" in body}
    assert len(bodies) > 20
    for body in bodies.values():
        check_error(body, ErrorCode.known(body["code"]).status or 0)


def test_an_error_survives_the_way_between_processes() -> None:
    error = InvalidImage(ErrorCode.IMAGE_TOO_SMALL, "{width} x {height}", "{least}", width=1, height=2, least=64)
    again = InvalidImage.from_facts(error.facts())
    assert (str(again), again.detail, again.code, again.params) == ("1 x 2", "64", error.code, error.params)
    braces = DiceTalkError(ErrorCode.RENDER_FAILED, "{not a name", "}")
    assert DiceTalkError.from_facts(braces.facts()).facts() == braces.facts()
    assert ErrorCode.known("of a later release") is ErrorCode.UNKNOWN


def test_the_document_has_every_code() -> None:
    lines = [
        f"| `{code}` | {code.status or ''} | {', '.join(f'`{name}`' for name in code.params)} | {code.meaning} |"
        for code in ErrorCode
    ]
    document = (ROOT / "docs" / "api.md").read_text()
    expected = "\n".join(re.sub(" +", " ", line) for line in lines)
    assert expected in document, f"docs/api.md needs this table:\n{expected}"


def translations() -> Mapping[str, list[str]]:
    """The page's Chinese sentences by code. Each code has one line."""
    script = (ROOT / "api" / "web" / "zh-errors.js").read_text().split("export const zhValues")[0]
    return {code: re.findall(r'"([^"]*)"', words) for code, words in re.findall(r"^  (\w+): \[(.*)\],$", script, re.M)}


def test_the_page_has_chinese_words_for_every_code() -> None:
    words = translations()
    assert set(words) == set(ErrorCode)
    for code, parts in words.items():
        assert re.search("[\u4e00-\u9fff]", parts[0]), code
        assert placeholders("".join(parts)) <= {*ErrorCode.known(code).params} - IN_ENGLISH, code


def kinds_of_files() -> Iterator[tuple[str, str]]:
    """Id and words of each kind, from the calls that make one."""
    for file in (ROOT / "dice_talk").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in KINDS_MADE_BY:
                continue
            first, *others = node.args
            if isinstance(first, ast.Constant):
                yield str(first.value), ast.unparse(others[0])
            else:
                assert ast.unparse(first) in ("id_", "*_NOT_READ.get(marker, _OTHER_JPEG)"), ast.unparse(node)
    yield from (image_file._OTHER_JPEG, *image_file._NOT_READ.values())


KINDS_MADE_BY = ("Kind", "_picture", "_sound", "_video", "_archive", "_not_read")


def test_the_page_has_chinese_words_for_every_kind_of_file_and_for_no_other() -> None:
    script = (ROOT / "api" / "web" / "zh-errors.js").read_text().split("  kind_id: {")[1]
    words = dict(re.findall(r'^    "?(\w+)"?: "(.*)",$', script, re.M))
    assert len(words) > 100
    assert set(words) == {id_ for id_, _ in kinds_of_files()}
    assert [text for text in words.values() if not re.search("[\u4e00-\u9fff]", text)] == []


def test_the_id_of_a_kind_stands_for_the_same_words_in_english() -> None:
    names: defaultdict[str, set[str]] = defaultdict(set)
    for id_, name in kinds_of_files():
        names[id_].add(name)
    assert {id_: found for id_, found in names.items() if len(found) > 1} == {}


def test_the_page_names_no_engine() -> None:
    """They come from the OpenAPI document, because packages may bring more."""
    for file in (ROOT / "api" / "web").glob("*.*"):
        if file.suffix in (".js", ".html"):
            assert not re.search(rf"\b({'|'.join(ENGINES)})\b", file.read_text()), file.name


def test_no_two_codes_share_their_first_chinese_sentence_unless_the_english_ones_do() -> None:
    first = Counter("".join(parts) for parts in translations().values())
    assert [text for text, count in first.items() if count > 1] == []


def test_codes_that_scripts_of_the_page_name_exist() -> None:
    scripts = {file: file.read_text() for file in (ROOT / "api" / "web").glob("*.js")}
    named: defaultdict[str, set[str]] = defaultdict(set)
    for file, script in scripts.items():
        for codes in re.findall(r"code === (\"\w+\")|\[([^\]]*)\]\.includes\(this\.code\)", script):
            named[file.name] |= set(re.findall(r'"(\w+)"', "".join(codes)))
    assert named["api.js"] and named["task.js"]
    assert set().union(*named.values()) <= set(ErrorCode)
