"""Every example, run as it stands."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api import keys
from dice_talk.video import probe
from tests.conftest import ROOT, Service

EXAMPLES = ROOT / "examples"
PROGRAMS: dict[str, list[str | Path]] = {
    "client": [sys.executable, EXAMPLES / "client.py"],
    "plain_requests": [sys.executable, EXAMPLES / "plain_requests.py"],
    "curl": [EXAMPLES / "curl.sh"],
}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=PROGRAMS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Run an example against a server, in an empty folder."""
    if request.param == "curl" and not shutil.which("curl"):
        pytest.skip("this machine has no curl")
    folder = tmp_path / "here"
    folder.mkdir()

    def run(url: str, *arguments: object, key: str = "") -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "DICE_TALK_SERVER": url, "DICE_TALK_API_KEY": key}
        command = [*PROGRAMS[request.param], *map(str, arguments)]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110)

    return run


def test_makes_a_video(run: Run, real_service: Service, portrait: Path, speech: Path, tmp_path: Path) -> None:
    done = run(real_service.url, portrait, speech, "surprised")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Saved result.mp4\n")
    assert '"emotion": "surprised"' in probe(tmp_path / "here" / "result.mp4").metadata["comment"]


def test_the_key_and_the_words_of_the_server(
    run: Run, serve: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    key = keys.add(file, "alice")
    service = serve(api_keys_file=file)
    assert run(service.url, portrait, speech, key=key).returncode == 0
    refused = run(service.url, portrait, speech)
    assert (refused.returncode, "An API key is needed" in refused.stderr) == (1, True)
    refused = run(service.url, portrait, portrait, key=key)
    assert (refused.returncode, "Invalid audio file type" in refused.stderr) == (1, True)


def test_the_documented_python_client(real_service: Service, portrait: Path, speech: Path, tmp_path: Path) -> None:
    """The one in docs/api.md, run as it stands but for the port."""
    code = re.search(r"```python\n(import requests\n.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    assert code
    (tmp_path / "client.py").write_text(code[1].replace("http://localhost:8000", real_service.url))
    shutil.copy(portrait, tmp_path)
    shutil.copy(speech, tmp_path)
    done = subprocess.run([sys.executable, "client.py"], cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert "Success! Video saved to: result_" in done.stdout, done.stdout + done.stderr
    assert probe(next(tmp_path.glob("result_*.mp4"))).fps == 30
