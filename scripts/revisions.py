"""Records the sources of each engine's revision: python scripts/revisions.py. Exit code 1 if a decision is needed.

An engine's revision rises when the same request could give another video; caches and unfinished renders depend on it. A
test compares a digest of the engine's sources with the one recorded here, so that no change goes by unnoticed. The
digest leaves out comments, docstrings and layout, and is the same on every machine and Python. See decision 0014.
"""

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dice_talk.engines import BUILT_IN

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "tests" / "data" / "revisions.json"
COMMAND = "python scripts/revisions.py"
PACKAGE = "dice_talk"
SPECS = {spec.name: spec for spec in BUILT_IN}
SEAM = {"dice_talk", "dice_talk.engine", "dice_talk.engines", "dice_talk.errors"}
"""Modules that pass on requests and results, and draw nothing. Modules that only these import are left out too."""
SILENT = {"ctx", "kind", "type_comment", "type_ignores", "type_params"}
"""Fields of syntax trees that mean nothing here, or that only some Pythons have."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Record the sources that each engine's revision stands for.")
    parser.add_argument("--unchanged", action="store_true", help="the sources changed, but every video stays the same")
    unchanged = parser.parse_args().unchanged
    problems = [] if unchanged else [problem for name in SPECS if (problem := undecided(name))]
    if problems:
        sys.exit("\n\n".join(problems))
    RECORD.write_text(json.dumps({name: state(name) for name in SPECS}, indent=2) + "\n")
    print(f"Recorded in {RECORD.relative_to(ROOT)}; commit it with the change.")


def undecided(name: str) -> str | None:
    """Return what to do if an engine's sources have changed and its revision has not; None if all is well."""
    before, now = recorded().get(name), state(name)
    if before is None or before["revision"] != now["revision"] or before["sources"] == now["sources"]:
        return None
    return (
        f"The sources of the {name} engine are no longer those of its revision {now['revision']}.\n"
        f"If the same request could now give another video, raise `revision` in dice_talk/{name}/spec.py and run\n"
        f"    {COMMAND}\n"
        f"If every video stays the same to the byte, run\n"
        f"    {COMMAND} --unchanged"
    )


def recorded() -> dict[str, dict[str, Any]]:
    """Return the recorded revision and sources of each engine."""
    found: dict[str, dict[str, Any]] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return found


def state(name: str) -> dict[str, Any]:
    """Return the current revision and sources of an engine."""
    return {"revision": SPECS[name].revision, "sources": digest(modules(SPECS[name].module))}


def modules(start: str) -> dict[str, ast.Module]:
    """Parse the module `start` and all modules of the package that it imports, directly or not."""
    found: dict[str, ast.Module] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if file and name not in found and name not in SEAM:
            found[name] = ast.parse(file.read_text("utf-8"))
            waiting += [name.rpartition(".")[0], *imports(found[name])]
    return found


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that a file imports anywhere, and those that it names in a string to run or import them later.

    Members of modules are among them: `from a import b` may import the module `a.b`. Imports are absolute here.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(f"{PACKAGE}."):
            yield node.value


def digest(parsed: dict[str, ast.Module]) -> str:
    """Return the SHA-256 of what modules do: their syntax trees without comments, docstrings and positions."""
    return hashlib.sha256(json.dumps({name: plain(parsed[name]) for name in sorted(parsed)}).encode()).hexdigest()


def plain(part: Any) -> Any:
    """Return a syntax tree as lists and strings. `ast.dump` would write the same tree differently on each Python."""
    if isinstance(part, list):
        return [plain(item) for item in part if not _is_text(item)]
    if isinstance(part, ast.JoinedStr):  # 3.12 puts empty texts between the values
        return ["JoinedStr", [plain(value) for value in part.values if getattr(value, "value", None) != ""]]
    if isinstance(part, ast.AST):
        fields = [[name, plain(value)] for name, value in ast.iter_fields(part) if name not in SILENT and value != []]
        return [type(part).__name__, [field for field in fields if field[1] is not None]]
    return None if part is None else ascii(part)


def _is_text(item: Any) -> bool:
    """Return whether a statement is a docstring or another string on its own."""
    return isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)


def _file(module: str) -> Path | None:
    """Return the source file of a module; None if it is not in the package."""
    path = ROOT / module.replace(".", "/")
    candidates = (path.with_suffix(".py"), path / "__init__.py") if module.split(".")[0] == PACKAGE else ()
    return next((file for file in candidates if file.is_file()), None)


if __name__ == "__main__":
    main()
