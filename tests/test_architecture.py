"""The import rules of the house, checked in the source."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = (
    {"api.clock", "api.caller", "api.errors", "api.settings", "api.threads"},
    {"api.metrics", "api.processes", "api.storage"},
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


@pytest.mark.parametrize("package", ["api", "dice_talk"])
def test_imports_are_absolute(package: str) -> None:
    """The other tests, and scripts/revisions.py, do not resolve relative ones."""
    relative = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


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


SAME_IN_CLIENT = {"Health", "TaskCreated", "TaskNotFound", "TaskState"}
"""In the Python client, which names them as the API does."""


def test_two_things_have_two_names() -> None:
    found = Counter(
        node.name
        for package in ("api", "dice_talk")
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in found.items() if count > 1} <= SAME_IN_CLIENT


def test_functions_are_short() -> None:
    lengths = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for package in ("api", "dice_talk")
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[int(0.95 * len(lengths))] <= 21


MIRRORS = {
    "api": "api",
    "dice_talk": "dice_talk",
    "dice_talk.cli": "cli",
    "dice_talk.diffusion": "diffusion",
    "dice_talk.lite": "lite",
    "dice_talk.labels": "labels",
    "dice_talk.face_models": "face_models",
}
"""Packages, and the folders of `tests` that have a test file for each of their modules. Those within them follow."""
MIRRORED = ("api", "dice_talk")
"""The packages of which that is checked."""
DECLARED_ONLY = {
    "api.http.services",
    "api.schemas.labels",
    "api.schemas.preflight",
    "api.schemas.receipt",
    "api.schemas.service",
    "dice_talk.emotions",
    "dice_talk.lite.arrays",
}
"""Modules without anything to test: fields and their descriptions."""


def home_of(module: str) -> str:
    """Return the test file of a module, below `tests`: that of `__main__` is `test_main`.

    The test file of a package lies beside those of its modules' neighbours.
    """
    package = max((name for name in MIRRORS if f"{module}.".startswith(f"{name}.")), key=len)
    inside = module.removeprefix(package).lstrip(".") or package.rpartition(".")[2]
    *folders, name = inside.split(".")
    name = name.strip("_")
    return "/".join([MIRRORS[package], *folders, f"test_{name}.py"])


def has_logic(file: Path) -> bool:
    """Whether a module does more than to describe or to gather others: only those of packages may."""
    body = ast.parse(file.read_text()).body
    return file.stem != "__init__" or any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body)


def homes(package: str) -> set[str]:
    """Return the test files that a package's modules need."""
    names = {module_of(file) for file in (ROOT / package).rglob("*.py") if has_logic(file)}
    return {home_of(name) for name in names - DECLARED_ONLY}


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("package", MIRRORED)
def test_every_module_has_a_test_file_of_its_name(package: str) -> None:
    assert sorted(home for home in homes(package) if not (ROOT / "tests" / home).exists()) == []


def test_every_test_file_in_the_apis_folder_is_that_of_a_module() -> None:
    """What needs more than one of them is in `tests/features`."""
    found = {str(file.relative_to(ROOT / "tests")) for file in (ROOT / "tests" / "api").rglob("test_*.py")}
    assert sorted(found - homes("api")) == []


def test_what_only_declares_is_there_and_defines_no_function() -> None:
    for module in DECLARED_ONLY:
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)], module
