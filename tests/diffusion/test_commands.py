"""`dice-talk download | doctor | make-tiny-checkpoints`, with a hub on this machine."""

import hashlib
import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dice_talk.__main__ import main
from dice_talk.diffusion import download, files
from dice_talk.diffusion.download import DownloadFailed, Remote, fetch, missing, remotes
from dice_talk.engine import choose_engine
from tests.diffusion.conftest import NO_TORCH

NAMES = [source.path for source in files.HUB_FILES] + list(files.PRIORS)


def content(path: str) -> bytes:
    return hashlib.sha256(path.encode()).digest() * 50


class Hub(BaseHTTPRequestHandler):
    """Serves `content` of every published file; `cut` breaks off, `ranges` may be refused."""

    asked: list[tuple[str, str | None, str | None]]
    cut = 0
    ranges = True

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        name = next((name for name in NAMES if self.path.endswith("/" + Path(name).name)), None)
        self.asked.append((f"{self.command} {self.path}", self.headers.get("Range"), self.headers.get("Authorization")))
        if name is None:
            self.send_error(404)
            return
        data = content(Path(name).name)
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if self.ranges else 0
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            self.wfile.write(data[start : len(data) - self.cut])

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("OneHub", (Hub,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv(download.HUB_VARIABLE, url + "/")
    monkeypatch.setenv(download.PRIORS_VARIABLE, f"{url}/priors")
    monkeypatch.setenv(download.TOKEN_VARIABLE, "secret")
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_downloads_what_is_needed_and_nothing_else(
    hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoints"
    assert main(["download", "--yes", "--checkpoints", str(folder)]) == 0
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert there == {*NAMES, download.CHECKSUMS}
    assert all((folder / name).read_bytes() == content(Path(name).name) for name in NAMES)
    said = capsys.readouterr().out
    assert said.index("in all") < said.index("Fetched")  # sizes first
    assert "not for commercial use" in said
    hub.asked.clear()
    assert main(["download", "--yes", "--checkpoints", str(folder)]) == 0
    assert not hub.asked


def test_asks_first(hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main(["download", "--checkpoints", str(tmp_path)]) == 1
    assert not list(tmp_path.iterdir())


def test_the_token_goes_to_the_hub_alone(hub: type[Hub], tmp_path: Path) -> None:
    main(["download", "--yes", "--checkpoints", str(tmp_path)])
    for request, _, authorization in hub.asked:
        assert authorization == (None if "/priors/" in request else "Bearer secret")


def remote(name: str) -> Remote:
    return next(remote for remote in remotes() if remote.path == name)


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_where_it_was_cut_off(hub: type[Hub], tmp_path: Path, ranges: bool) -> None:
    quiet = partial(lambda *_: None)
    (wanted,) = missing(tmp_path, [remote(files.POSE_GUIDER)])
    hub.cut = 600
    with pytest.raises(DownloadFailed):
        fetch(tmp_path, wanted, quiet)
    assert not (tmp_path / files.POSE_GUIDER).exists()
    hub.cut, hub.ranges = 0, ranges
    fetch(tmp_path, wanted, quiet)
    assert (tmp_path / files.POSE_GUIDER).read_bytes() == content("pose_guider.pth")
    assert hub.asked[-1][1] == "bytes=1000-"


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_partial_file_of_full_size_or_more(hub: type[Hub], tmp_path: Path, sized: bool, extra: bytes) -> None:
    wanted = remote(files.POSE_GUIDER)
    if sized:
        (wanted,) = missing(tmp_path, [wanted])
    partial_file = tmp_path / f"{files.POSE_GUIDER}.part"
    partial_file.parent.mkdir(parents=True)
    partial_file.write_bytes(content("pose_guider.pth") + extra)
    fetch(tmp_path, wanted, lambda *_: None)
    assert (tmp_path / files.POSE_GUIDER).read_bytes() == content("pose_guider.pth")
    assert not partial_file.exists()


def test_a_server_that_is_not_there_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(download.HUB_VARIABLE, "http://127.0.0.1:9")
    assert main(["download", "--yes", "--checkpoints", str(tmp_path)]) == 1
    assert download.HUB_VARIABLE in capsys.readouterr().err


@pytest.mark.parametrize(("code", "advice"), [(403, download.TOKEN_VARIABLE), (404, download.PRIORS_VARIABLE)])
def test_a_refusal_is_explained(hub: type[Hub], tmp_path: Path, code: int, advice: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(hub, "answer", lambda self, body: self.send_error(code))
    with pytest.raises(DownloadFailed) as caught:
        missing(tmp_path, [remote(files.VAE)])
    assert str(code) in str(caught.value) and advice in str(caught.value.detail)


def test_doctor_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--checkpoints", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in NAMES)
    assert "engine: lite" in said


def test_doctor_finds_changed_files(hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["download", "--yes", "--checkpoints", str(tmp_path)])
    (tmp_path / files.VAE).write_bytes(b"something else")
    assert main(["doctor", "--checkpoints", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"problem  file {files.VAE}" in said
    assert said.count("checksum right") == len(NAMES) - 1
    assert files.NOT_PUBLISHED in said


def test_tiny_checkpoints_pass_the_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    folder = tmp_path / "tiny"
    assert main(["make-tiny-checkpoints", str(folder)]) == 0
    assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == {
        *files.NEEDED_FILES,
        "weights.json",
    }
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 20e6
    assert choose_engine("auto", folder) == "diffusion"
    assert main(["doctor", "--checkpoints", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "note     weights: tiny random weights" in said and "engine: diffusion" in said


def test_tiny_checkpoints_replace_nothing(tmp_path: Path) -> None:
    (tmp_path / files.UNET).parent.mkdir()
    (tmp_path / files.UNET).write_bytes(b"precious")
    assert main(["make-tiny-checkpoints", str(tmp_path)]) == 2
    assert (tmp_path / files.UNET).read_bytes() == b"precious"


def test_doctor_names_missing_keys(tiny_checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    for file in tiny_checkpoints.rglob("*"):
        if file.is_file():
            place = tmp_path / file.relative_to(tiny_checkpoints)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    state = torch.load(tmp_path / files.UNET, weights_only=True)
    del state["conv_in.weight"]
    torch.save(state, tmp_path / files.UNET)
    assert main(["doctor", "--checkpoints", str(tmp_path)]) == 1
    assert "1 missing: conv_in.weight" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_tiny_weights(tiny_checkpoints: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    from safetensors.torch import load_file

    from dice_talk.diffusion.tiny import make_tiny_checkpoints

    make_tiny_checkpoints(tmp_path)
    first, second = (load_file(folder / files.VAE) for folder in (tiny_checkpoints, tmp_path))
    assert all((first[key] == second[key]).all() for key in first)
