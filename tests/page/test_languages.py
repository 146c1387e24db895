"""Further languages of the page: JSON files that need no JavaScript."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts import translation
from tests.conftest import Service

pytestmark = pytest.mark.timeout(300)  # engines and other tests may want the same cores

FILES = sorted(translation.LANGUAGES.glob("*.json"))


def test_every_language_is_listed_and_right() -> None:
    codes = json.loads(translation.INDEX.read_text())
    assert codes == [file.stem for file in FILES if file.stem != "index"]
    for code in codes:
        assert translation.problems(json.loads((translation.LANGUAGES / f"{code}.json").read_text())) == []


def test_a_translation_is_begun_and_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(translation, "LANGUAGES", tmp_path)
    monkeypatch.setattr(translation, "INDEX", tmp_path / "index.json")
    (tmp_path / "index.json").write_text("[]")
    monkeypatch.setattr(sys, "argv", ["translation.py", "fr", "Français"])
    translation.main()
    file = json.loads((tmp_path / "fr.json").read_text())
    assert (file["name"], file["texts"].keys()) == ("Français", translation.english().keys())
    assert json.loads((tmp_path / "index.json").read_text()) == ["fr"]
    file["texts"] |= {"submit": "Créer la vidéo", "portrait.found.many": "visages", "old": "vieux"}
    (tmp_path / "fr.json").write_text(json.dumps(file))
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["translation.py", "fr"])
    translation.main()
    said = capsys.readouterr().out
    assert "portrait.found.many: its values are {count}" in said
    assert f"{len(translation.english()) - 2} of {len(translation.english())} texts are not translated yet" in said
    again = json.loads((tmp_path / "fr.json").read_text())
    assert again["texts"]["submit"] == "Créer la vidéo" and "old" not in again["texts"]


@pytest.mark.parametrize("code", ["", "en", "zh", "../x", "FR"])
def test_codes_that_name_no_further_language(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["translation.py", code])
    with pytest.raises(SystemExit, match="Name the language"):
        translation.main()


def test_the_page_speaks_a_third_language(visit: Callable[..., Any], real_service: Service) -> None:
    french = {
        "name": "Français",
        "texts": {"submit": "Créer la vidéo", "portrait.title": ""},
        "errors": {
            "image_too_small": ["L’image est trop petite : {width} × {height}."],
            "unknown": ["Erreur inconnue."],
        },
    }

    def prepare(page: Any) -> None:
        page.route("**/languages/index.json", lambda route: route.fulfill(json=["fr", "xx"]))
        page.route("**/languages/fr.json", lambda route: route.fulfill(json=french))

    page = visit(real_service.url, refusals=True, locale="fr-CA", prepare=prepare)  # xx.json is not there
    page.get_by_role("button", name="Créer la vidéo").wait_for()
    assert page.get_attribute("html", "lang") == "fr"
    assert page.inner_text("#portrait-heading") == "Portrait", "what is not translated is English"
    assert page.locator("#languages option").all_inner_texts() == ["English", "中文", "Français"]

    def told(code: str, error: str, **params: object) -> str:
        facts = {"code": code, "error": error, "params": params}
        call = "facts => import('/web/texts.js').then(({ fromServer }) => fromServer(facts))"
        return str(page.evaluate(call, facts))

    assert told("image_too_small", "", width=32, height=33) == "L’image est trop petite : 32 × 33."
    assert told("render_failed", "No mouth") == "Erreur inconnue."
    page.select_option("#languages", "zh")
    page.get_by_role("button", name="生成视频").wait_for()
    page.reload()
    page.get_by_role("button", name="生成视频").wait_for()
    assert page.input_value("#languages") == "zh"
