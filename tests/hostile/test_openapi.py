"""schemathesis against the service's own OpenAPI document: every check, also over chains of requests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Service
from tests.hostile.conftest import Watch

CONFIG = Path(__file__).with_name("schemathesis.toml")
PROGRAM = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("phases", "seconds", "least"),
    [("examples,coverage,fuzzing", 20, 100), ("stateful", 10, 10)],
    ids=["one", "chains"],
)
@pytest.mark.usefixtures("then_honest")
def test_the_service_keeps_to_its_document(
    watch: Watch, server: Service, tmp_path: Path, phases: str, seconds: int, least: int
) -> None:
    """For `seconds`, or longer where that makes less than the `least` number of requests."""
    pytest.importorskip("schemathesis")
    made = 0
    while made < least:
        made, seconds = run(server, tmp_path, phases, seconds), 2 * seconds
        watch.finished = watch.honest_upload()  # the other one may have been removed


def run(server: Service, folder: Path, phases: str, seconds: int) -> int:
    """Give how many requests were made."""
    options = ["--checks", "all", "--phases", phases, "--max-examples", "12", "--max-time", f"{seconds}", "--no-color"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--config-file", CONFIG, "run", f"{server.url}/openapi.json", *options],
        cwd=folder,  # where it keeps a cache
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    sys.stdout.write(done.stdout[-2500:])
    report = re.search(r"(\d+) generated", done.stdout)
    assert report, done.stdout
    return int(report[1])
