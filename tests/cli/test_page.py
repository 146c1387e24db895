"""`dice-talk open`: the page in the browser, whichever that is."""

import os
import subprocess
from pathlib import Path

from tests.cli.commands import COMMAND, said, typed
from tests.conftest import Service


def browse(folder: Path, url: str, browser: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "BROWSER": f"{browser} %s", "PATH": "/nowhere", "DISPLAY": ""}
    command = [*COMMAND, "open", "--server", url]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=60, check=False)


def test_the_browser_is_given_the_address(real_service: Service, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/seen\n')
    browser.chmod(0o755)
    done = browse(tmp_path, real_service.url.removeprefix("http://"), str(browser))
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{real_service.url}/\n", b"")
    assert (tmp_path / "seen").read_text() == f"{real_service.url}/\n"


def test_without_a_browser_or_a_server(real_service: Service, tmp_path: Path) -> None:
    done = browse(tmp_path, real_service.url, "/bin/false")
    assert (done.returncode, done.stdout.decode()) == (1, f"{real_service.url}/\n")
    assert said(done) == ["There is no browser here that could be started. Open the address above in one."]
    done = typed(tmp_path, "open", "--server", "127.0.0.1:9")
    assert (done.returncode, done.stdout, len(said(done))) == (3, b"", 1)
    assert said(done)[0].startswith("No server answers at http://127.0.0.1:9.")
