"""What the service and the engines say, in words for somebody who types commands."""

import re
import shutil
import sys
from pathlib import Path

from dice_talk.options import RenderOptions

_FIELDS = ("engine", *RenderOptions.model_fields)
_GIVEN = re.compile(rf"\b({'|'.join(_FIELDS)})=([\w.-]*\w)")
_NAMED = re.compile(rf"\b({'|'.join(name for name in _FIELDS if '_' in name)})\b")
"""The other names are also words of everyday language."""
_LIST = re.compile(r"\['[^\[\]']*'(?:, '[^\[\]']*')*\]")
_OWN = re.compile(r"(?<![\w./-])dice-talk(?= (?:download|doctor|render|submit|open)\b)")


def for_people(text: str) -> str:
    """Return a sentence with options as they are typed, lists without Python's signs, and this program as started."""
    text = _LIST.sub(lambda found: found[0].strip("[]").replace("'", ""), text)
    text = _GIVEN.sub(lambda found: _flag(found[1]) + ("" if found[2] == "true" else f" {found[2]}"), text)
    text = _NAMED.sub(lambda found: _flag(found[1]), text)
    return _OWN.sub(lambda _: program(), text)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def program() -> str:
    """Return what starts this program, as it was typed: `dice-talk`, `.venv/bin/dice-talk` or `python -m dice_talk`."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{sys.orig_argv[0]} -m dice_talk"
    found = shutil.which("dice-talk")
    if started.name != "dice-talk" or (found and Path(found).resolve() == started.resolve()):
        return "dice-talk"
    return sys.argv[0]
