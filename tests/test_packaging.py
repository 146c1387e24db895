"""pyproject.toml's ranges and the locks made of them say the same, for every Python and platform."""

import re
import tomllib
from itertools import product

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from dice_talk.lite import sphinx
from scripts.audit import SAFE_VERSIONS
from tests.conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = ("api", *sorted(EXTRAS))
MACHINES = {
    "linux": ("Linux", "x86_64"),
    "linux-arm64": ("Linux", "aarch64"),
    "darwin": ("Darwin", "arm64"),
    "darwin-intel": ("Darwin", "x86_64"),
}
ENVIRONMENTS = {
    f"3.{minor}-{name}": {
        "python_version": f"3.{minor}",
        "python_full_version": f"3.{minor}.1",
        "sys_platform": name.split("-")[0],
        "platform_system": system,
        "platform_machine": machine,
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    for minor, (name, (system, machine)) in product(range(11, 15), MACHINES.items())
}


def lines(text: str) -> list[Requirement]:
    return [Requirement(said) for line in text.splitlines() if (said := line.split("#")[0].strip())]


def locked(name: str) -> str:
    return (ROOT / f"requirements_{name}.txt").read_text()


def valid(requirements: list[Requirement], environment: dict[str, str]) -> list[Requirement]:
    return [one for one in requirements if one.marker is None or one.marker.evaluate(environment)]


def pins(text: str, environment: dict[str, str]) -> dict[str, str]:
    """Release that a lock asks for there, by canonical name."""
    found: dict[str, str] = {}
    for one in valid(lines(text), environment):
        exact = re.fullmatch(r"==([^*]+)", str(one.specifier))
        assert exact, f"{one} is no exact release"
        assert canonicalize_name(one.name) not in found, f"{one.name} is asked for twice"
        found[canonicalize_name(one.name)] = exact[1]
    return found


def disagreements(ranges: list[str], lock: str, environment: dict[str, str]) -> list[str]:
    """Ranges that the lock does not keep to."""
    exact = pins(lock, environment)
    wanted = valid([Requirement(one) for one in ranges], environment)
    return [str(one) for one in wanted if exact.get(canonicalize_name(one.name), "0") not in one.specifier]


def ranges(lock: str) -> list[str]:
    return [*PROJECT["dependencies"], *EXTRAS.get(lock, [])]


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
@pytest.mark.parametrize("lock", LOCKS)
def test_each_lock_keeps_to_the_ranges(lock: str, environment: dict[str, str]) -> None:
    assert disagreements(ranges(lock), locked(lock), environment) == [], "run scripts/lock.sh"


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_the_locks_can_be_installed_together(environment: dict[str, str]) -> None:
    together: dict[str, str] = {}
    for lock in LOCKS:
        exact = pins(locked(lock), environment)
        assert {name: exact[name] for name in exact.keys() & together.keys()}.items() <= together.items(), lock
        together |= exact


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_has_anything_of_the_machine_that_made_it(lock: str) -> None:
    assert not re.search(r"^\s*-|://|file:|@ |/opt|\+cpu", locked(lock), re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("av==19.0.0", "av<19,>=14"),
        ("av==13.1", "av<19,>=14"),
        ("", "av<19,>=14"),
        ("av==18.1; python_version < '3.12'", "av<19,>=14"),
    ],
    ids=["above", "below", "missing", "not everywhere"],
)
def test_a_lock_that_disagrees_is_found(text: str, problem: str) -> None:
    assert disagreements(["av>=14,<19"], text, ENVIRONMENTS["3.13-linux"]) == [problem]


@pytest.mark.parametrize(("name", "environment"), ENVIRONMENTS.items(), ids=ENVIRONMENTS)
def test_pocketsphinx_is_asked_for_only_where_it_has_a_wheel(name: str, environment: dict[str, str]) -> None:
    releases = {"3.11": "5.1.1", "3.12": "5.0.4", "3.13": "5.1.1"}
    wanted = None if name == "3.12-linux-arm64" else releases.get(environment["python_version"])
    assert pins(locked("api"), environment).get("pocketsphinx") == wanted


def test_the_library_for_other_pythons_is_of_a_wheel_that_others_get() -> None:
    theirs = ENVIRONMENTS["3.13-linux"] | {"python_version": sphinx.PYTHON, "python_full_version": f"{sphinx.PYTHON}.1"}
    assert pins(locked("api"), theirs)["pocketsphinx"] == sphinx.RELEASE


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_has_a_release_with_known_holes(lock: str) -> None:
    safe = {canonicalize_name(one.name): one.specifier for one in lines(SAFE_VERSIONS.read_text())}
    for environment in ENVIRONMENTS.values():
        exact = pins(locked(lock), environment)
        assert [name for name, allowed in safe.items() if name in exact and exact[name] not in allowed] == []


def test_every_python_that_is_tried_is_one_that_pyproject_allows() -> None:
    allowed = SpecifierSet(PROJECT["requires-python"])
    script = (ROOT / "scripts" / "environment.sh").read_text()
    bounds = [int(re.search(rf"^{name}_PYTHON=(\d+)", script, re.MULTILINE)[1]) for name in ("OLDEST", "NEWEST")]  # type: ignore[index]
    for minor in range(8, 20):
        assert (f"3.{minor}.1" in allowed) == (bounds[0] <= minor <= bounds[1])


@pytest.mark.parametrize("name", ["deploy.md", "deploy.zh-CN.md"])
def test_what_is_downloaded_for_an_offline_installation_is_what_is_installed(name: str) -> None:
    commands = re.findall(r"^python3 -m pip download (.+)", (ROOT / "docs" / name).read_text(), re.MULTILINE)
    locks, library = (command.split() for command in commands)
    assert locks[-len(PYPROJECT["build-system"]["requires"]) :] == PYPROJECT["build-system"]["requires"]
    assert library[-1] == f"pocketsphinx=={sphinx.RELEASE}"
    assert library[library.index("--python-version") + 1] == sphinx.PYTHON
