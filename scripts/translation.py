"""Begins or completes a translation of the page: python scripts/translation.py CODE [NAME]. See docs/translating.md."""

import json
import re
import sys
from pathlib import Path

WEB = Path(__file__).parent.parent / "api" / "web"
LANGUAGES = WEB / "languages"
INDEX = LANGUAGES / "index.json"
CODE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*")
_TEXT = re.compile(r'^  "([\w.]+)": "((?:[^"\\]|\\.)*)",$', re.MULTILINE)
_FILLED_IN = re.compile(r"\{\w+\}")
HEAD = {"name": "", "stop": ".", "space": " "}


def english() -> dict[str, str]:
    """Return the page's texts by name."""
    return {name: json.loads(f'"{text}"') for name, text in _TEXT.findall((WEB / "en.js").read_text(encoding="utf-8"))}


def completed(file: dict[str, object], name: str) -> dict[str, object]:
    """Return a translation with all of the page's texts in their order; new ones are empty, dropped ones are gone."""
    texts = file.get("texts")
    there = texts if isinstance(texts, dict) else {}
    head = HEAD | {"name": name} | {key: value for key, value in file.items() if key != "texts"}
    return head | {"texts": {key: there.get(key, "") for key in english()}}


def problems(file: dict[str, object]) -> list[str]:
    """Return what is wrong with a translation: values in curly brackets that are missing, or are none of the text's."""
    found = []
    texts = file.get("texts")
    for key, text in (texts if isinstance(texts, dict) else {}).items():
        wanted = english().get(key)
        if wanted is None:
            found.append(f"{key}: the page has no such text")
        elif text and sorted(_FILLED_IN.findall(text)) != sorted(_FILLED_IN.findall(wanted)):
            found.append(f"{key}: its values are {' '.join(_FILLED_IN.findall(wanted)) or 'none'}, as in “{wanted}”")
    return found


def main() -> None:
    """Entry point."""
    code, *name = sys.argv[1:] or [""]
    if not CODE.fullmatch(code) or code in ("en", "zh"):
        sys.exit("Name the language by its code in lower case, such as fr or pt-br, and then in its own words.")
    path = LANGUAGES / f"{code}.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    file = completed(before, " ".join(name) or before.get("name") or code)
    path.write_text(json.dumps(file, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    codes = sorted({*json.loads(INDEX.read_text()), code})
    INDEX.write_text(json.dumps(codes) + "\n")
    texts = file["texts"]
    left = sum(not text for text in texts.values()) if isinstance(texts, dict) else 0
    print("\n".join([*problems(file), f"{path}: {left} of {len(english())} texts are not translated yet."]))


if __name__ == "__main__":
    main()
