"""The engine in examples/engine, installed as a package and rendered with; and packages whose engines are broken."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from dice_talk.video import probe
from tests.conftest import ROOT, Service
from tests.faults.process import server_process

BROKEN = {"broken": "raise RuntimeError('no luck')", "lite": "SPEC = None"}
"""Code by engine name. The second one's is that of a built-in engine."""
Finished = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example's package, as pip installs it."""
    folder = tmp_path_factory.mktemp("packages")
    source = shutil.copytree(ROOT / "examples" / "engine", folder / "source")  # pip builds in there
    target = folder / "target"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*command, "--no-deps", "--no-build-isolation", "--target", target, source], check=True)
    return target


@pytest.fixture(scope="module")
def broken_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    for name, code in BROKEN.items():
        (folder / f"{name}_package.py").write_text(code)
        info = folder / f"{name}_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dice_talk.engines]\n{name} = {name}_package:SPEC\n")
    return folder


def run(packages: Path, *command: object) -> Finished:
    """Run a module of Python's with those packages on its path."""
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    words = [sys.executable, "-m", *map(str, command)]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)


@pytest.fixture(scope="module")
def service(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server that has the example's engine; auto is lite, as ever."""
    folder = tmp_path_factory.mktemp("service")
    with server_process(folder, variables={"PYTHONPATH": str(packages)}, workers=1) as service:
        yield service


def test_it_keeps_the_contract(packages: Path) -> None:
    done = run(packages, "pytest", "-q", "-n", "0", "tests/test_engine_contract.py", "-k", "waveform")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout, done.stdout


def test_a_server_renders_with_it(service: Service, portrait: Path, speech: Path, tmp_path: Path) -> None:
    task_id = service.submit(portrait, speech, engine="waveform", seed=1)
    state = service.wait(task_id)
    assert (state["status"], state["engine"], state["weights"]) == ("COMPLETED", "waveform", None), state
    video = tmp_path / "video.mp4"
    video.write_bytes(service.download(task_id).content)
    assert '"engine": "waveform"' in probe(video).metadata["comment"]

    receipt = requests.get(f"{service.url}/api/v1/synthesis/{task_id}/receipt", timeout=60).json()
    assert receipt["versions"]["waveform-engine"] == "1"
    assert receipt["versions"]["dice-talk-waveform"] == "1.0.0", "a new release of the package renders anew"
    assert receipt["labels"]["digital_source_type"] == "compositeSynthetic"
    assert receipt["labels"]["aigc"]["Label"] == "1"
    assert receipt["weights"] == {"label": None, "sha256": {}}


def test_the_server_knows_it(service: Service, portrait: Path) -> None:
    health = service.health()
    assert (health["status"], health["engine"]) == ("healthy", "lite")
    metrics = requests.get(f"{service.url}/metrics", timeout=60).text
    assert 'dice_talk_video_seconds_total{engine="waveform"}' in metrics

    schemas = requests.get(f"{service.url}/openapi.json", timeout=60).json()["components"]["schemas"]
    field = schemas["RenderForm"]["properties"]["engine"]
    assert field["enum"] == ["auto", "diffusion", "lite", "waveform"]
    assert field["description"].endswith("else lite. waveform: Draws the speech's waveform over the portrait.")
    assert schemas["TaskState"]["properties"]["engine"]["description"].endswith("lite, diffusion or waveform.")

    look: dict[str, Any] = {
        "data": {"engine": "waveform", "duration": 2},
        "files": {"image": portrait.read_bytes()},
        "timeout": 60,
    }
    found = requests.post(f"{service.url}/api/v1/preflight", **look).json()
    assert (found["engine"], len(found["image"]["faces"])) == ("waveform", 1)
    assert found["eta_seconds"]["high"] > 0, "from the timings in its spec"


def test_names_that_no_engine_has_are_refused_as_ever(service: Service, portrait: Path, speech: Path) -> None:
    answer = service.start(portrait, speech, engine="nobody")
    assert answer.status_code == 422
    assert answer.json()["error"] == "engine is not one of the known values"
    assert answer.json()["detail"] == "Allowed for engine: auto, diffusion, lite or waveform"


def test_the_command_line_renders_with_it(packages: Path, portrait: Path, speech: Path, tmp_path: Path) -> None:
    listed = [json.loads(line) for line in run(packages, "dice_talk", "engines", "--json").stdout.splitlines()]
    assert listed[-1] == {"engine": "waveform", "available": True, "auto": False, "missing": []}
    options = ("-e", "happy", "--engine", "waveform", "--duration", "0.3", "-o", tmp_path / "video.mp4")
    done = run(packages, "dice_talk", "render", portrait, speech, *options)
    assert done.returncode == 0, done.stderr
    assert '"engine": "waveform"' in probe(tmp_path / "video.mp4").metadata["comment"]
    assert "ok       engine waveform: complete\n" in run(packages, "dice_talk", "doctor").stdout


def test_tasks_outlive_the_package(packages: Path, portrait: Path, speech: Path, tmp_path: Path) -> None:
    """What it rendered stays; what waits for it fails with words, and everything else goes on."""
    with server_process(tmp_path, variables={"PYTHONPATH": str(packages)}, workers=1) as before:
        finished = before.submit(portrait, speech, engine="waveform")
        assert before.wait(finished)["status"] == "COMPLETED"
        waiting = before.submit(portrait, speech, engine="waveform", duration=60, fps=60, min_resolution=1024)
        before.wait(waiting, "PROCESSING")
        before.kill()
    with server_process(tmp_path, workers=1) as after:
        state = after.wait(waiting)
        assert (state["status"], state["message"]) == ("FAILED", "Engine 'waveform' is not available on this server")
        assert "the package that provides the waveform engine" in state["detail"]
        assert after.status(finished)["engine"] == "waveform"
        assert after.download(finished).status_code == 200
        assert requests.get(f"{after.url}/api/v1/synthesis/{finished}/receipt", timeout=60).status_code == 200
        again = requests.post(f"{after.url}/api/v1/synthesis/{finished}/retry", timeout=60)
        assert (again.status_code, again.json()["error"]) == (400, state["message"])
        again = requests.post(f"{after.url}/api/v1/synthesis/{finished}/retry", data={"engine": "lite"}, timeout=60)
        assert after.wait(again.json()["task_id"])["status"] == "COMPLETED"
        assert after.wait(after.submit(portrait, speech))["status"] == "COMPLETED"


def test_broken_ones_are_named_and_stop_nothing(broken_packages: Path, tmp_path: Path) -> None:
    lines = [
        "The engine broken of the package broken-package cannot be used: RuntimeError: no luck",
        "The engine lite of the package lite-package cannot be used: "
        "lite_package:SPEC is not an EngineSpec, but of type NoneType",
    ]
    with server_process(tmp_path, variables={"PYTHONPATH": str(broken_packages)}) as service:
        assert service.health()["status"] == "healthy"
        log = (tmp_path / "logs" / "api.log").read_text()
        assert all(log.count(line) == 1 for line in lines), log

    listed = run(broken_packages, "dice_talk", "engines")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["diffusion", "lite"]
    assert all(line in listed.stderr for line in lines), listed.stderr
    report = run(broken_packages, "dice_talk", "doctor").stdout
    assert f"problem  engine broken: {lines[0]}" in report


def test_a_setting_that_names_a_broken_one_says_why(
    broken_packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICE_TALK_ENGINE", "broken")
    monkeypatch.setenv("DICE_TALK_DATA_DIR", str(tmp_path))
    done = run(broken_packages, "api.server")
    assert done.returncode == 1
    assert "wrong setting: engine: Input should be 'auto', 'diffusion' or 'lite'; The engine broken" in done.stderr
