"""`dice-talk render` and `dice-talk submit`, as people type them: real processes, the lite engine, a real server."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import psutil
import pytest

from dice_talk.video import probe
from tests.cli.commands import COMMAND, PORTRAIT, SPEECH, said, typed
from tests.conftest import Service
from tests.waiting import wait_for

SHORT = ["-e", "happy", "--duration", "0.3", "--fps", "10"]


@pytest.fixture(params=["render", "submit"])
def way(request: pytest.FixtureRequest) -> list[str]:
    """The command, and where its work is done."""
    if request.param == "render":
        return ["render", "--engine", "lite"]
    service: Service = request.getfixturevalue("real_service")
    return ["submit", "--server", service.url]


def test_one_video(way: list[str], tmp_path: Path) -> None:
    done = typed(tmp_path, *way, PORTRAIT, SPEECH, *SHORT, "--seed", 5, "-o", "out.mp4")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out.mp4\n", b"")
    info = probe(tmp_path / "out.mp4")
    assert (float(info.fps), info.frames, '"seed": 5' in info.metadata["comment"]) == (10, 3, True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_batch_goes_on_after_a_failure(way: list[str], tmp_path: Path, faceless: Path) -> None:
    done = typed(tmp_path, *way, faceless, PORTRAIT, SPEECH, *SHORT, "--json", "-o", "videos")
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in said(done)] == ["wall.png"]
    assert "No face was found" in said(done)[0]
    results = {result["portrait"]: result for result in map(json.loads, done.stdout.splitlines())}
    assert results[str(faceless)]["error"].startswith("No face was found")
    good = results[str(PORTRAIT)]
    assert good["output"] == "videos/portrait-speech-happy.mp4"
    assert (good["engine"], good["emotion"], good["seconds"]) == ("lite", "happy", pytest.approx(0.3))
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["portrait-speech-happy.mp4"]
    assert probe(tmp_path / good["output"]).frames == 3
    assert f'"seed": {good["seed"]}' in probe(tmp_path / good["output"]).metadata["comment"]


def test_several_emotions_and_sheets(way: list[str], tmp_path: Path) -> None:
    options = ["-e", "sad", *SHORT, "--sheet", "all.png", "--sheet", "all.mp4", "-o", "videos"]
    done = typed(tmp_path, *way, PORTRAIT, SPEECH, *options)
    assert (done.returncode, done.stderr) == (0, b"")
    named = ["videos/portrait-speech-sad.mp4", "videos/portrait-speech-happy.mp4"]
    assert sorted(done.stdout.decode().splitlines()[:2]) == sorted(named)
    assert done.stdout.decode().splitlines()[2:] == ["all.png", "all.mp4"]
    assert '"emotion": "sad"' in probe(tmp_path / named[0]).metadata["comment"]
    assert '"emotion": "happy"' in probe(tmp_path / named[1]).metadata["comment"]
    clip = probe(tmp_path / "all.mp4")
    assert (clip.width, clip.height, clip.frames) == (512, 256, 3)
    assert (tmp_path / "all.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sheet", "all.gif"], "--sheet all.gif must end in .jpg, .jpeg, .png or .mp4"),
        (["--sheet", "gone/all.png"], "There is no folder gone"),
        (["--sheet", "there.png"], "There already: there.png"),
        (["--sheet", "all.png", "-o", "-"], "--sheet is for the emotions of one portrait and one recording"),
        ([PORTRAIT.with_name("other.png"), "--sheet", "all.png"], "--sheet is for the emotions of one portrait"),
    ],
)
def test_sheets_that_cannot_be(options: list[object], words: str, tmp_path: Path) -> None:
    (tmp_path / "there.png").touch()
    (tmp_path / "other.png").write_bytes(PORTRAIT.read_bytes())
    options = [tmp_path / "other.png" if isinstance(option, Path) else option for option in options]
    done = typed(tmp_path, "render", PORTRAIT, SPEECH, *SHORT, *options)
    assert (done.returncode, done.stdout, len(said(done))) == (2, b"", 1)
    assert words in said(done)[0]


def test_streams(way: list[str], tmp_path: Path) -> None:
    done = typed(tmp_path, *way, PORTRAIT, "-", *SHORT, "-o", "-", stdin=SPEECH.read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    (tmp_path / "video.mp4").write_bytes(done.stdout)
    assert probe(tmp_path / "video.mp4").frames == 3


def test_nothing_is_overwritten_without_force(way: list[str], tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"precious")
    done = typed(tmp_path, *way, PORTRAIT, SPEECH, *SHORT, "-o", "out.mp4")
    assert (done.returncode, len(said(done)), "There already: out.mp4" in said(done)[0]) == (2, 1, True)
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    assert typed(tmp_path, *way, PORTRAIT, SPEECH, *SHORT, "-o", "out.mp4", "--force").returncode == 0
    assert probe(tmp_path / "out.mp4").frames == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([PORTRAIT, SPEECH], "Missing option '-e'"),
        ([PORTRAIT, SPEECH, "-e", "bored"], "'bored' is not one of"),
        ([PORTRAIT, SPEECH, "-e", "sad", "--fps", "100"], "100 is not in the range 8<=x<=60"),
        ([PORTRAIT, SPEECH, "-e", "sad", "--ref-scale", "nan"], "--ref-scale"),
        ([PORTRAIT, "gone.wav", "-e", "sad"], "gone.wav: No such file"),
        ([PORTRAIT, SPEECH, "-e", "sad", "-o", "-", "--json"], "not both"),
    ],
)
def test_what_makes_no_sense(arguments: list[object], words: str, tmp_path: Path) -> None:
    done = typed(tmp_path, "render", *arguments)
    assert (done.returncode, done.stdout, len(said(done))) == (2, b"", 1)
    assert words in said(done)[0]
    assert not list(tmp_path.glob("*.mp4"))


def test_a_picture_of_another_kind_is_called_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "portrait.jpg").write_bytes(b"RIFF\x24\0\0\0WEBPVP8 " + bytes(32))
    done = typed(tmp_path, "render", "portrait.jpg", SPEECH, *SHORT)
    assert done.returncode != 0
    assert "The file is a WebP picture. Make a JPEG of it" in said(done)[-1]


def test_no_engine_and_no_server(tmp_path: Path) -> None:
    done = typed(tmp_path, "render", PORTRAIT, SPEECH, *SHORT, "--engine", "diffusion")
    assert (done.returncode, len(said(done)), "Missing: " in said(done)[0]) == (3, 1, True)
    done = typed(tmp_path, "submit", "--server", "http://127.0.0.1:9", PORTRAIT, SPEECH, *SHORT)
    assert (done.returncode, said(done)[-1].partition(".")[0]) == (3, "No server answers at http://127")
    assert said(done)[0] == "Waiting for the server at http://127.0.0.1:9, which does not answer..."
    assert len(said(done)) == 2
    assert list(tmp_path.iterdir()) == []


def start(folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    def heed_ctrl_c() -> None:
        """A shell's background jobs, these tests perhaps, ignore it, and so would all that they start."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command, pipe = [*COMMAND, *map(str, arguments)], subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, preexec_fn=heed_ctrl_c)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_leaves_no_half_file_and_no_process(number: signal.Signals, code: int, tmp_path: Path) -> None:
    options = ("-e", "sad", "--min-resolution", 1024, "-o", "out.mp4")
    running = start(tmp_path, "render", PORTRAIT, SPEECH, *options)
    wait_for(lambda: any(path.stat().st_size for path in tmp_path.iterdir()), 60)  # it is being written
    children = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(number)
    out, errors = running.communicate(timeout=30)
    assert (running.returncode, out) == (code, b"")
    assert errors in (b"\nStopped.\n", b"Stopped.\n", b"")
    assert not [child for child in children if child.is_running()]
    assert list(tmp_path.iterdir()) == []


def test_stopping_a_submission_cancels_it(serve: Any, tmp_path: Path) -> None:
    service: Service = serve("gated")
    folder = tmp_path / "here"
    folder.mkdir()
    running = start(folder, "submit", "--server", service.url, PORTRAIT, SPEECH, *SHORT)
    (task,) = wait_for(lambda: {name.split("/")[1] for name in service.files() if name.startswith("tasks/")}, 60)
    wait_for(lambda: service.health()["slots_busy"] == 1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert (running.returncode, errors.decode().strip()) == (130, "Stopped.")
    assert service.status(task)["cancelled"]
    assert list(folder.iterdir()) == []


def test_bars_on_a_terminal(tmp_path: Path) -> None:
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 120, 0, 0))
    command = [*COMMAND, "render", "--engine", "lite", str(PORTRAIT), str(SPEECH), *SHORT]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=far)
    os.close(far)
    shown = b""
    try:
        while data := os.read(near, 4096):
            shown += data
    except OSError:  # how Linux says that the other end is closed
        pass
    out, _ = running.communicate(timeout=60)
    assert (running.returncode, out) == (0, b"portrait-speech-happy.mp4\n")
    assert "portrait.jpg + speech.wav" in shown.decode()
    assert "100%" in shown.decode()
    assert "XNNPACK" not in shown.decode()
