"""Which engines there are, and what happens to those of other packages that can't be used."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import get_args

import pytest

from dice_talk import engines
from dice_talk.engine import EngineSpec, resolve
from dice_talk.engines import (
    BUILT_IN,
    ENGINES,
    EngineChoice,
    choose_engine,
    collect,
    describe_choice,
    fingerprint,
    in_words,
    load_engine,
    spec_of,
    versions,
    weight_files,
    weights_of,
)
from dice_talk.errors import EngineUnavailable
from tests.conftest import ROOT

Install = Callable[..., list[EntryPoint]]
SPEC = EngineSpec(name="other", module="dice_talk.lite.engine", source_type="algorithmicMedia")
GOOD = """
from dice_talk.engine import EngineSpec
SPEC = EngineSpec(name="{name}", module="dice_talk.lite.engine", source_type="algorithmicMedia")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with one entry point on the path, and return all that are there then."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, code: str, module: str | None = None, attribute: str = "SPEC") -> list[EntryPoint]:
        module = module or f"{name}_package"
        monkeypatch.delitem(sys.modules, module, raising=False)  # another test's
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{engines.GROUP}]\n{name} = {module}:{attribute}\n")
        return list(entry_points(group=engines.GROUP))

    return install


def test_auto_takes_lite_where_diffusion_is_not_complete(tmp_path: Path) -> None:
    assert choose_engine("auto", tmp_path) == "lite"
    assert choose_engine("lite", tmp_path) == "lite"


def test_requests_may_name_every_engine() -> None:
    assert get_args(EngineChoice) == ("auto", *ENGINES)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="'diffusion' is not available") as caught:
        choose_engine("diffusion", tmp_path)
    assert caught.value.detail
    assert caught.value.detail.startswith("Missing: ")
    assert str(tmp_path) not in caught.value.detail


@pytest.mark.parametrize("spec", BUILT_IN, ids=lambda spec: spec.name)
def test_what_the_built_in_specs_name_is_there(spec: EngineSpec) -> None:
    for path in filter(None, (spec.portrait_check, spec.weights, spec.doctor)):
        assert callable(resolve(path))


def test_fingerprint_follows_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(SPEC, distributions=("av",), files=("weights",), extras=("extra",))
    monkeypatch.setitem(ENGINES, "other", spec)
    (tmp_path / "weights").mkdir()
    empty = fingerprint("other", tmp_path)
    assert "av " in empty
    (tmp_path / "weights" / "a.bin").write_bytes(b"1")
    one = fingerprint("other", tmp_path)
    (tmp_path / "weights" / "a.bin").write_bytes(b"12")
    two = fingerprint("other", tmp_path)
    (tmp_path / "extra").write_bytes(b"1")
    assert len({empty, one, two, fingerprint("other", tmp_path)}) == 4


@pytest.mark.parametrize("name", ENGINES)
def test_fingerprint_follows_the_revision_and_not_the_release(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(name, tmp_path)
    monkeypatch.setattr("dice_talk.engines.__version__", "99.0")
    assert fingerprint(name, tmp_path) == before, "a release that renders the same keeps what was rendered"
    next_one = replace(ENGINES[name], revision=ENGINES[name].revision + 1)
    monkeypatch.setitem(ENGINES, name, next_one)
    assert fingerprint(name, tmp_path) != before
    assert versions(name)[f"{name}-engine"] == str(next_one.revision)


def test_an_engine_of_another_package(install: Install) -> None:
    found, refused = collect(install("third", GOOD.format(name="third")))
    assert list(found) == ["diffusion", "lite", "third"]
    assert not refused
    assert found["third"].releases()["third_package"] == "1.2", "its package counts without being named"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('no\\nluck')", "RuntimeError: no luck"),
        ("import sys; sys.exit('gone')", "SystemExit: gone"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("SPEC = {}", "third_package:SPEC is not an EngineSpec, but of type dict"),
        ("OTHER = 1", "AttributeError: module 'third_package' has no attribute 'SPEC'"),
        (GOOD.format(name="fourth"), "the entry point is named third, and its engine fourth"),
        (GOOD.format(name="auto"), "'auto' cannot name an engine"),
        (GOOD.replace("algorithmicMedia", "digitalCapture").format(name="third"), "source_type of third is not one of"),
    ],
)
def test_one_that_is_broken_is_named_in_one_line(install: Install, code: str, words: str) -> None:
    found, (refused,) = collect(install("third", code))
    assert list(found) == ["diffusion", "lite"]
    assert str(refused).startswith(f"The engine third of the package third_package cannot be used: {words}")
    assert "\n" not in str(refused)


def test_built_in_names_are_taken(install: Install) -> None:
    found, (refused,) = collect(install("lite", GOOD.format(name="lite"), module="impostor"))
    assert (found["lite"], refused.package) == (ENGINES["lite"], "impostor")
    assert refused.reason == "another engine has this name already"


def test_the_first_of_two_with_one_name_is_taken(install: Install) -> None:
    install("third", GOOD.format(name="third"), module="second_package")
    found, (refused,) = collect(install("third", GOOD.format(name="third"), module="first_package"))
    assert "first_package" in found["third"].distributions
    assert refused.package == "second_package"


def test_what_a_package_prints_does_not_reach_programs(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    collect(install("third", "print('hello')\n" + GOOD.format(name="third")))
    assert capsys.readouterr() == ("", "hello\n")


NOISE = """
import os, subprocess, sys
print("from print")
sys.__stdout__.write("from the true stdout\\n")
os.write(1, b"from the descriptor\\n")
subprocess.run(["echo", "from a child"])
"""


def test_no_output_of_a_package_reaches_standard_output(install: Install, tmp_path: Path) -> None:
    """Workers speak to the service there, and commands to programs."""
    install("third", NOISE.replace("\\\\", "\\") + GOOD.format(name="third"))
    command = [sys.executable, "-m", "dice_talk", "engines", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert [json.loads(line)["engine"] for line in done.stdout.splitlines()] == ["diffusion", "lite", "third"]
    assert done.stderr.count("from ") == 4


def test_a_closed_standard_output_stops_no_engine(install: Install, tmp_path: Path) -> None:
    install("third", "print('hello')\n" + GOOD.format(name="third"))
    code = "import dice_talk.engines, sys; sys.exit('third' not in dice_talk.engines.ENGINES)"
    command = ["sh", "-c", '"$0" -c "$1" >&-', sys.executable, code]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=True)


def test_damaged_metadata_of_any_package_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(group: str) -> None:
        raise ValueError("half a line")

    monkeypatch.setattr(engines, "entry_points", damaged)
    found, (refused,) = engines._installed()
    assert list(found) == ["diffusion", "lite"]
    assert "half a line" in str(refused)


def test_auto_may_take_an_engine_that_ranks_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ENGINES, "other", replace(SPEC, summary="Something else."))
    assert choose_engine("auto", tmp_path) == "lite"
    assert describe_choice() == (
        "What renders: auto takes diffusion when its checkpoints are complete, else lite. other: Something else."
    )
    monkeypatch.setitem(ENGINES, "other", replace(SPEC, auto=30))
    assert choose_engine("auto", tmp_path) == "other"
    assert "auto takes other when it is complete, diffusion when" in describe_choice()
    monkeypatch.setitem(ENGINES, "other", replace(SPEC, auto=30, packages=("no_such_package",)))
    assert choose_engine("auto", tmp_path) == "lite"


def test_one_that_was_uninstalled_is_not_available(tmp_path: Path) -> None:
    """Tasks outlive it: their states and receipts are still asked for, and what waits is refused with words."""
    assert weights_of("gone", tmp_path) is None
    assert weight_files("gone", tmp_path) == {}
    assert not spec_of("gone").one_process
    with pytest.raises(EngineUnavailable, match="'gone' is not available") as caught:
        load_engine("gone", tmp_path)
    assert str(caught.value.detail) == (
        "Missing: the package that provides the gone engine. Install it, or use engine=auto."
    )


def test_weights_that_cannot_be_told_are_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for weights in ("no_such_package:label", "dice_talk.engines:choose_engine", "sys:exit"):
        monkeypatch.setitem(ENGINES, "other", replace(SPEC, weights=weights))
        assert weights_of("other", tmp_path) == "unknown weights"
    monkeypatch.setitem(ENGINES, "other", replace(SPEC, weights="dice_talk.diffusion.files:weights_label"))
    assert weights_of("other", tmp_path) == "unverified weights"


def odd_weights(checkpoints: Path) -> str:
    return "half a letter \ud800" + "x" * 1000


def test_odd_weights_are_cleaned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ENGINES, "other", replace(SPEC, weights=f"{__name__}:odd_weights"))
    assert str(weights_of("other", tmp_path)).startswith("half a letter ?xxx")
    assert len(str(weights_of("other", tmp_path))) == 100


@pytest.mark.parametrize(("names", "words"), [([], ""), (["a"], "a"), (["a", "b"], "a or b"), ([*"abc"], "a, b or c")])
def test_names_in_words(names: list[str], words: str) -> None:
    assert in_words(names) == words


def test_the_specs_are_light() -> None:
    """They are read by the service and by every command."""
    heavy = {"numpy", "av", "PIL", "cv2", "torch", "pocketsphinx"}
    code = f"import sys, dice_talk.engines; print(sorted({heavy!r} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
