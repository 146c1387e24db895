"""The import rules of the house, checked in the source."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = (
    {"api.clock", "api.caller", "api.errors", "api.processes", "api.settings"},
    {"api.metrics", "api.storage"},
    {"api.logs", "api.keys", "api.tasks"},
    {"api.schemas"},
    {"api.callbacks", "api.inspection", "api.rendering"},
    {"api.service"},
    {"api.http"},
    {"api.app"},
    {"api.server", "api.health", "api.unlabelled", "api.webhooks"},
)
"""The parts of `api`, from the ground up. A part imports only from floors below its own, and within itself."""
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


def modules(file: Path) -> set[str]:
    """Full names of all modules a file imports, wherever in it. Names imported from a package count as its modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def part_of(module: str) -> str:
    """Return the part of `api` that a module belongs to: a package or a module directly below it."""
    return ".".join(module.split(".")[:2])


def test_every_part_of_the_api_has_a_floor() -> None:
    api = ROOT / "api"
    found = {f"api.{path.stem}" for path in api.glob("*.py") if path.stem != "__init__"}
    found |= {f"api.{path.parent.name}" for path in api.glob("*/__init__.py")}
    floors = [part for floor in FLOORS for part in floor]
    assert sorted(floors) == sorted(found)


@pytest.mark.parametrize("file", sorted((ROOT / "api").rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_api_imports_only_downwards(file: Path) -> None:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if name == "api":
        assert not modules(file)
        return
    floor_of = {part: number for number, floor in enumerate(FLOORS) for part in floor}
    for module in modules(file):
        if module.startswith("api.") and part_of(module) != part_of(name):
            assert floor_of[part_of(module)] < floor_of[part_of(name)], f"{name} imports {module}"


def test_there_is_no_import_circle() -> None:
    files = [file for package in ("api", "dice_talk") for file in (ROOT / package).rglob("*.py")]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}
    graph = {}
    for name, file in names.items():
        found = {module if module in names else module.rpartition(".")[0] for module in modules(file)}
        graph[name] = found & names.keys() - {name}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules


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


MIRRORED = {"Health", "TaskCreated", "TaskNotFound", "TaskState"}
"""In the Python client, which names them as the API does."""


def test_two_things_have_two_names() -> None:
    found = Counter(
        node.name
        for package in ("api", "dice_talk")
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in found.items() if count > 1} <= MIRRORED


def test_functions_are_short() -> None:
    lengths = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for package in ("api", "dice_talk")
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[int(0.95 * len(lengths))] <= 21
