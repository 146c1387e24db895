"""schemathesis against the service's own OpenAPI document: every check, also over chains of requests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Service
from tests.hostile.conftest import Watch

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.usefixtures("then_honest")
def test_the_service_keeps_to_its_document(watch: Watch, server: Service, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    program = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
    options = ["--checks", "all", "--max-examples", "12", "--max-time", "25", "--no-color"]
    done = subprocess.run(
        [sys.executable, "-c", program, "--config-file", CONFIG, "run", f"{server.url}/openapi.json", *options],
        cwd=tmp_path,  # where it keeps a cache
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    watch.finished = watch.honest_upload()  # the other one may have been removed
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    report = re.search(r"(\d+) generated", done.stdout)
    assert report
    assert int(report[1]) > 100, done.stdout
    sys.stdout.write(done.stdout[-2500:])
