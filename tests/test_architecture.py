"""The import rules of the house, checked in the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "cv2", "diffusers", "transformers", "pocketsphinx"}


def imports(file: Path) -> set[str]:
    """Top-level names of all modules a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("file", sorted((ROOT / "api").rglob("*.py")), ids=lambda file: file.name)
def test_the_api_never_imports_what_renders(file: Path) -> None:
    assert not imports(file) & HEAVY


@pytest.mark.parametrize("file", sorted((ROOT / "dice_talk").rglob("*.py")), ids=lambda file: file.name)
def test_rendering_knows_nothing_of_http(file: Path) -> None:
    assert not imports(file) & {"fastapi", "starlette", "uvicorn", "api", "sqlalchemy"}


def test_the_running_api_has_loaded_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = HEAVY | {"numpy", "av", "soundfile", "PIL"}
    code = f"import sys, api.server; print(sorted({heavy!r} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_no_own_code_unpickles() -> None:
    for file in (*(ROOT / "api").rglob("*.py"), *(ROOT / "dice_talk").rglob("*.py")):
        assert "pickle" not in imports(file), file
        assert "shell=True" not in file.read_text(), file
