"""Rendering code does not change unnoticed while its engine's revision stays. The failure's message says what to do."""

import ast
import shutil
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from dice_talk.engine import SHARED_DISTRIBUTIONS
from scripts import revisions

ROOT = Path(__file__).parent.parent
DRAW_NOTHING = {"c2pa", "cryptography", "pydantic"}
"""Packages that engines import and whose releases change no video."""


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package and of the record, to be changed."""
    shutil.copytree(ROOT / "dice_talk", tmp_path / "dice_talk", ignore=shutil.ignore_patterns("__pycache__"))
    record = tmp_path / "revisions.json"
    monkeypatch.setattr(revisions, "ROOT", tmp_path)
    monkeypatch.setattr(revisions, "RECORD", record)
    monkeypatch.setattr(sys, "argv", ["revisions.py"])
    revisions.main()
    return tmp_path


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


@pytest.mark.parametrize("name", revisions.SPECS)
def test_the_revision_stands_for_these_sources(name: str) -> None:
    problem = revisions.undecided(name)
    assert problem is None, problem
    assert revisions.recorded().get(name) == revisions.state(name), (
        f"Run {revisions.COMMAND} and commit what it records."
    )


def test_a_change_of_the_code_asks_for_a_decision(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(copy / "dice_talk" / "lite" / "curves.py", "\n_SMOOTHER = 0.5\n")
    problem = revisions.undecided("lite")
    assert problem is not None
    assert "raise `revision` in dice_talk/lite/spec.py" in problem
    assert revisions.undecided("diffusion") is None
    with pytest.raises(SystemExit, match="raise `revision`"):
        revisions.main()
    monkeypatch.setattr(sys, "argv", ["revisions.py", "--unchanged"])
    revisions.main()
    assert revisions.undecided("lite") is None


def test_what_engines_share_counts_for_both(copy: Path) -> None:
    append(copy / "dice_talk" / "video.py", "\n_SHARPER = 1\n")
    assert revisions.undecided("lite")
    assert revisions.undecided("diffusion")


def test_words_and_other_modules_ask_for_nothing(copy: Path) -> None:
    append(copy / "dice_talk" / "lite" / "curves.py", '\n# A comment.\n"""A text that stands for itself."""\n')
    append(copy / "dice_talk" / "client.py", "\n_MORE = 1\n")
    for seam in ("engine.py", "engines.py", "lite/spec.py", "diffusion/spec.py"):
        append(copy / "dice_talk" / seam, "\n_MORE = 1\n")
    assert [revisions.undecided(name) for name in revisions.SPECS] == [None, None]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('def f(x):\n    """One."""\n    return x', "def f(x):\n    '''Two.'''\n\n    return (x)  # three", True),
        ("f(1,\n  'a')", 'f(1, "a")', True),
        ("LOUD = 0.25", "LOUD = 0.26", False),
        ("def f(x=1): return x", "def f(x=2): return x", False),
        ("f('a')", "f('b')", False),
        ("a + b", "a - b", False),
    ],
)
def test_what_the_digest_sees(one: str, other: str, same: bool) -> None:
    first, second = (revisions.digest({"m": ast.parse(source)}) for source in (one, other))
    assert (first == second) is same


def test_the_digest_is_the_same_on_every_python() -> None:
    source = """
async def f(a, /, b: "int" = 1, *c, d=-2.5e-7, **e):
    with g() as h: return f"{a!r:>{b}} {{}} é" f"{d=}" "x", b"\\x00", 1j, [x async for x in e if not x], ...
"""
    assert (
        revisions.digest({"m": ast.parse(source)}) == "c7302b0be142a84e0aa6c06c7d9f693941a9a5c5f3ed81d8e40e67f5586b7aa2"
    )


def test_all_of_an_engine_is_looked_at() -> None:
    lite = revisions.modules("dice_talk.lite.engine")
    files = {f"dice_talk.lite.{file.stem}" for file in (ROOT / "dice_talk" / "lite").glob("*.py")}
    assert files - {"dice_talk.lite.__init__", "dice_talk.lite.spec"} <= set(lite)
    assert {"dice_talk.audio", "dice_talk.image", "dice_talk.face", "dice_talk.video"} <= set(lite)
    diffusion = revisions.modules("dice_talk.diffusion.engine")
    assert {"dice_talk.diffusion.unet", "dice_talk.diffusion.peer", "dice_talk.video"} <= set(diffusion)
    assert not {"dice_talk.client", "dice_talk.measure"} & {*lite, *diffusion}


@pytest.mark.parametrize("file", sorted((ROOT / "dice_talk").rglob("*.py")), ids=lambda file: file.name)
def test_imports_are_absolute(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))


@pytest.mark.parametrize("name", revisions.SPECS)
def test_the_fingerprint_counts_every_package_that_renders(name: str) -> None:
    """By distribution, where the package is installed; by import name where it is not."""
    counted = {*revisions.SPECS[name].distributions, *SHARED_DISTRIBUTIONS}
    trees = revisions.modules(revisions.SPECS[name].module).values()
    imported = {module.split(".")[0] for tree in trees for module in revisions.imports(tree)}
    foreign = imported - set(sys.stdlib_module_names) - DRAW_NOTHING - {"dice_talk"}
    known = packages_distributions()
    missing = {package for package in foreign if not {d.lower() for d in known.get(package, [package])} & counted}
    assert not missing, f"add them to `distributions` in dice_talk/{name}/spec.py"
