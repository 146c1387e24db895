"""scripts/environment.sh on machines that lack one thing or another: a PATH of a few tools, an index of one package."""

import base64
import hashlib
import http.server
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.conftest import ROOT

TOOLS = ("bash", "cat", "cmp", "comm", "cp", "dirname", "env", "ls", "mkdir", "rm", "sed", "sort", "touch")
OLD = '[ "$1" = -V ] && echo Python 3.8.1 && exit 0\nexit 1'
WITHOUT_VENV = f'case "$*" in *ensurepip*|"-m pip"*) exit 1;; esac\nexec {sys.executable} "$@"'
UV = 'echo "$@" >> asked\n[ "$FAILS" = "" ] || exit 1'
SAID = "Python 3.11 to 3.14 is needed, found"


FORMS: dict[str, Callable[[str, str, str], str]] = {
    "json": lambda other, name, digest: json.dumps(
        {
            "files": [
                {"filename": other, "url": "/nowhere", "hashes": {}},
                {"filename": name, "url": f"../../{name}", "hashes": {"sha256": digest}},
            ]
        }
    ),
    "json without digests": lambda other, name, digest: json.dumps(
        {"files": [{"filename": other, "url": "/nowhere"}, {"filename": name, "url": f"../../{name}", "hashes": {}}]}
    ),
    "html": lambda other, name, digest: (
        f'<!DOCTYPE html><html><body><a href="/nowhere/{other}">{other}</a><br>'
        f'<a href="../../{name}#sha256={digest}" data-requires-python="&gt;=3.8">{name}</a></body></html>'
    ),
    "html without digests": lambda other, name, digest: (
        f'<a name="top">Files</a> <a href="/nowhere/{other}">{other}</a> <A HREF="../../{name}">{name}</A>'
    ),
}


class Machine:
    """A folder with the project's scripts, and the programs that are on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tools = folder / "dice talk", folder / "bin"
        self.tools.mkdir()
        self.folder.mkdir()
        for name in TOOLS:
            (self.tools / name).symlink_to(shutil.which(name) or f"{name} is missing")
        shutil.copytree(ROOT / "scripts", self.folder / "scripts")
        for name in ("start_server.sh", "pyproject.toml", *(path.name for path in ROOT.glob("requirements_*.txt"))):
            shutil.copy(ROOT / name, self.folder)

    def add(self, name: str, script: str) -> None:
        """A program of that name."""
        program = self.tools / name
        program.write_text(f"#!{self.tools / 'bash'}\n{script}\n")
        program.chmod(0o755)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """There."""
        environment = {"PATH": str(self.tools), **variables}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120)

    def install(self, **variables: str) -> str:
        """The one line with which ./start_server.sh install fails."""
        done = self.run("./start_server.sh", "install", **variables)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stdout + done.stderr
        return done.stderr

    def shell(self, script: str) -> str:
        """What a line prints with scripts/environment.sh at hand."""
        done = self.run("bash", "-euc", f". scripts/environment.sh; {script}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def asked(self) -> list[str]:
        """What uv was asked for."""
        return (self.folder / "asked").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def index(tmp_path: Path, machine: Machine) -> Iterator[Callable[..., str]]:
    """Serve a package index with one wheel of uv, whole or tampered with, and return its address."""
    pages = tmp_path / "index"
    (pages / "simple" / "uv").mkdir(parents=True)
    needed: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if needed and self.headers["Authorization"] not in needed:
                self.send_error(401)
            else:
                super().do_GET()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Handler(*given, directory=str(pages)))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def serve(whole: bool = True, form: str = "json", user: str = "") -> str:
        system = "manylinux_2_17" if sys.platform == "linux" else "macosx_11_0"
        release = machine.shell("sed -n 's/^uv==\\([0-9.]*\\).*/\\1/p' requirements_dev.txt").strip()
        name = f"uv-{release}-py3-none-{system}_{os.uname().machine}.whl"
        with zipfile.ZipFile(pages / name, "w") as wheel:
            wheel.writestr(f"uv-{release}.data/scripts/uv", f"#!{machine.tools / 'bash'}\n{UV}\n")
        digest = hashlib.sha256((pages / name).read_bytes() + (b"" if whole else b"!")).hexdigest()
        (pages / "simple" / "uv" / "index.html").write_text(FORMS[form](f"uv-0.1.0-{name[3:]}", name, digest))
        needed[:] = [f"Basic {base64.b64encode(unquote(user).encode()).decode()}"] if user else []
        return f"http://{user}{'@' if user else ''}127.0.0.1:{server.server_port}/simple/"

    yield serve
    server.shutdown()
    server.server_close()


def test_no_python_and_no_uv_is_one_clear_line(machine: Machine) -> None:
    assert f"{SAID} none. Install one" in machine.install()


def test_an_old_python_alone_is_named(machine: Machine) -> None:
    machine.add("python3", OLD)
    assert f"{SAID} Python 3.8.1. Install one" in machine.install()


def test_uv_brings_the_python_that_all_packages_have_wheels_for(machine: Machine) -> None:
    machine.add("python3", OLD)
    machine.add("uv", UV)
    assert "uv could not make .venv" in machine.install(FAILS="1")
    assert machine.asked == ["venv --quiet --seed --python 3.13 .venv"]


def test_a_python_without_venv_is_used_by_a_uv_from_the_index(machine: Machine, index: Callable[..., str]) -> None:
    machine.add("python3.12", WITHOUT_VENV)
    assert "uv could not make .venv" in machine.install(FAILS="1", PIP_INDEX_URL=index())
    assert machine.asked == ["venv --quiet --seed --python python3.12 .venv"]
    assert (machine.folder / ".uv" / "bin" / "uv").stat().st_mode & stat.S_IXUSR


def test_an_old_python_fetches_a_uv_that_brings_another(machine: Machine, index: Callable[..., str]) -> None:
    machine.add("python3", f'case "$*" in *sys.version_info*|"-m pip"*) exit 1;; esac\nexec {sys.executable} "$@"')
    machine.install(FAILS="1", UV_DEFAULT_INDEX=index())
    assert machine.asked == ["venv --quiet --seed --python 3.13 .venv"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("user", ["", "a%40b:p%3Aw"], ids=["open", "password"])
def test_mirrors_of_every_kind_are_read(machine: Machine, index: Callable[..., str], form: str, user: str) -> None:
    machine.add("python3", WITHOUT_VENV)
    machine.install(FAILS="1", PIP_INDEX_URL=index(form=form, user=user))
    assert machine.asked == ["venv --quiet --seed --python python3 .venv"]


@pytest.mark.parametrize("form", ["json", "html"])
def test_a_uv_that_is_not_what_the_index_says_is_not_run(
    machine: Machine, index: Callable[..., str], form: str
) -> None:
    machine.add("python3", WITHOUT_VENV)
    said = machine.install(PIP_INDEX_URL=index(False, form))
    assert "without venv. Install one" in said
    assert "uv could not be fetched: uv-" in said
    assert "is not what the index says it is" in said
    assert not (machine.folder / ".uv").exists()


def test_why_uv_could_not_be_fetched_is_said_without_the_password(machine: Machine, index: Callable[..., str]) -> None:
    machine.add("python3", WITHOUT_VENV)
    address = index(user="me:right").replace("right", "wrong")
    said = machine.install(PIP_INDEX_URL=address)
    assert "uv could not be fetched: http://127.0.0.1" in said
    assert "/simple/uv/ cannot be read: HTTP Error 401" in said
    assert "wrong" not in said


def test_a_python_that_is_asked_for_and_not_supported_is_refused(machine: Machine) -> None:
    machine.add("python3.8", OLD)
    machine.add("uv", UV)
    assert "PYTHON=python3.8 is not Python 3.11 to 3.14" in machine.install(PYTHON="python3.8")


@pytest.mark.parametrize("stamp", ["installed-server", "installed-tests"])
def test_what_release_1_1_installed_is_made_anew(machine: Machine, stamp: str) -> None:
    machine.add("uv", UV)
    (machine.folder / ".venv" / "bin").mkdir(parents=True)
    (machine.folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert machine.shell("fits && echo yes") == "yes\n"
    (machine.folder / ".venv" / stamp).touch()
    machine.shell("make_venv")
    assert not (machine.folder / ".venv").exists(), "the fake uv makes none"
    assert len(machine.asked) == 1


def test_what_a_lock_no_longer_names_goes_and_nothing_else(machine: Machine) -> None:
    locks = machine.folder / ".venv" / "locks"
    locks.mkdir(parents=True)
    (locks / "requirements_api.txt").write_text(
        "av==18.1.0   # via us\nmediapipe==0.10.21\njax==0.7 ; python_version < '3'\n"
    )
    assert machine.shell("leftovers requirements_api.txt") == "jax\nmediapipe\n"


def test_only_what_changed_is_installed_again(machine: Machine) -> None:
    locks = machine.folder / ".venv" / "locks"
    locks.mkdir(parents=True)
    shutil.copy(machine.folder / "requirements_api.txt", locks)
    assert machine.shell("unchanged requirements_api.txt && echo same") == "same\n"
    assert machine.shell("unchanged requirements_api.txt requirements_dev.txt || echo new") == "new\n"


@pytest.mark.parametrize(("command", "compiled"), [("install", True), ("health", False)])
def test_an_installation_compiles_what_the_service_imports(machine: Machine, command: str, compiled: bool) -> None:
    for folder, text in (("api", ""), ("dice_talk", ""), (".venv/lib", ""), (".venv/lib/template", "{{ no Python }}")):
        (machine.folder / folder).mkdir(parents=True)
        (machine.folder / folder / "module.py").write_text(text)
    (machine.folder / ".venv" / "bin").mkdir()
    (machine.folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (machine.folder / ".venv" / "locks").mkdir()
    for name in ("pyproject.toml", "requirements_api.txt"):
        shutil.copy(machine.folder / name, machine.folder / ".venv" / "locks")
    machine.add("python3", f'exec {sys.executable} "$@"')
    done = machine.run("./start_server.sh", command)
    if compiled:
        assert (done.returncode, done.stderr) == (0, "")
    for folder in ("api", "dice_talk", ".venv/lib"):
        assert any((machine.folder / folder).glob("__pycache__/module.*.pyc")) == compiled
