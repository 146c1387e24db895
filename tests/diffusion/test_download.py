"""`dice-talk download`, from a hub on this machine that breaks off and publishes new revisions."""

import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dice_talk import atomic
from dice_talk.__main__ import main
from dice_talk.cli import codes
from dice_talk.diffusion import checksums, download, files
from dice_talk.diffusion.download import DownloadFailed, Remote, describe, fetch, remotes
from dice_talk.emotions import Emotion

NAMES = [source.path for source in files.HUB_FILES] + list(files.PRIORS)
LARGE, SMALL = files.POSE_GUIDER, files.WHISPER_CONFIG
SIZE = 1600


class Hub(BaseHTTPRequestHandler):
    """Sends on to where it stores large files, like the hub. Breaks off `cut` bytes before the end."""

    asked: list[tuple[str, str | None, str | None]]
    revision = 1
    cut = 0
    at_most = SIZE
    """Bytes sent in one answer before it breaks off."""
    ranges = True
    knows_if_range = True
    absent: frozenset[str] = frozenset()
    commits: ClassVar[dict[str, str]] = {}
    """By repository. Other revisions of it are not there."""

    @classmethod
    def content(cls, path: str) -> bytes:
        return hashlib.sha256(f"{Path(path).name} {cls.revision}".encode()).digest() * (SIZE // 32)

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        name = next((name for name in NAMES if self.path.endswith("/" + Path(name).name)), None)
        repository, _, rest = self.path[1:].partition("/resolve/")
        revision = rest.partition("/")[0]
        if name is None or name in self.absent or revision not in ("", "main", self.commits.get(repository)):
            self.send_error(404)
        elif "/resolve/" in self.path and not name.endswith(".json"):
            self.send_response(302)
            if repository in self.commits:
                self.send_header("X-Repo-Commit", self.commits[repository])
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(self.content(name)).hexdigest()}"')
            self.send_header("Location", f"http://localhost:{self.server.server_port}/stored/{name}")  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send(self.content(name), f'"{Path(name).name}-{self.revision}"')

    def send(self, data: bytes, etag: str) -> None:
        same = self.headers.get("If-Range") == etag or not self.knows_if_range
        asked = self.headers.get("Range") if same and self.ranges else None
        start = int(asked[len("bytes=") : -1]) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : min(len(data) - self.cut, start + self.at_most)])

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
    monkeypatch.setattr(download, "_BLOCK", 100)  # less than that is lost when a transfer breaks off
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def run(folder: Path) -> int:
    return main(["download", "--yes", "--checkpoints", str(folder)])


def described(name: str) -> Remote:
    (found,) = (remote for remote in remotes({}) if remote.path == name)
    return describe(found)


def left(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_downloads_what_is_needed_and_nothing_else(
    hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoints"
    assert run(folder) == 0
    assert left(folder) == {*NAMES, checksums.CHECKSUMS}
    assert all((folder / name).read_bytes() == hub.content(name) for name in NAMES)
    said, bars = capsys.readouterr()
    assert said.index("0.0 MB") < said.index("in all") < said.index("Done")
    assert "not for commercial use" in said
    assert all(f"{name}: 100%" in bars for name in NAMES)
    hub.asked.clear()
    assert run(folder) == 0
    assert not hub.asked


def test_only_what_is_damaged_is_fetched_again(
    hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also if the size is right."""
    run(tmp_path)
    capsys.readouterr()
    (tmp_path / LARGE).write_bytes(bytes(SIZE))
    (tmp_path / files.UNET).write_bytes(b"short")
    hub.asked.clear()
    assert run(tmp_path) == 0
    assert {Path(asked[0]).name for asked in hub.asked} == {Path(LARGE).name, Path(files.UNET).name}
    assert all((tmp_path / name).read_bytes() == hub.content(name) for name in NAMES)
    assert files.weights_label(tmp_path) == files.PUBLISHED
    assert f"{LARGE} is not what was downloaded" in capsys.readouterr().err


def test_what_came_another_way_is_compared(hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the hub's checksum, or with the content of a small file of which the hub knows none."""
    run(tmp_path)
    (tmp_path / checksums.CHECKSUMS).unlink()
    (tmp_path / files.VAE).write_bytes(b"of another kind")
    assert files.weights_label(tmp_path) == files.UNVERIFIED
    capsys.readouterr()
    assert run(tmp_path) == 0
    said, complaints = capsys.readouterr()
    assert all(f"{name} is the published file." in said for name in NAMES if name != files.VAE)
    assert f"{files.VAE} is not the published file; to have that, delete this one." in complaints
    assert (tmp_path / files.VAE).read_bytes() == b"of another kind", "it may be someone's own"
    assert files.weights_label(tmp_path) == files.UNVERIFIED
    (tmp_path / files.VAE).unlink()
    assert run(tmp_path) == 0
    assert files.weights_label(tmp_path) == files.PUBLISHED


def test_without_the_hub_nothing_is_compared(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path)
    (tmp_path / checksums.CHECKSUMS).unlink()
    monkeypatch.setenv(download.HUB_VARIABLE, "http://127.0.0.1:9")
    capsys.readouterr()
    assert run(tmp_path) == 0
    assert f"{len(files.HUB_FILES)} files that came another way can't be compared now" in capsys.readouterr().err
    assert set(checksums.checksums(tmp_path)) == set(files.PRIORS)


def test_a_revision_can_be_pinned(hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dice = files.REPOSITORIES[0]
    hub.commits = {dice: "c0ffee"}
    assert main(["download", "--yes", "--checkpoints", str(tmp_path), "--revision", f"{dice}=c0ffee"]) == 0
    said = capsys.readouterr().out
    assert f"To fetch the same elsewhere: dice-talk download --revision {dice}=c0ffee" in said
    asked = {path for path, _, _ in hub.asked if "/resolve/" in path}
    assert {path.split("/resolve/")[1].split("/")[0] for path in asked if dice in path} == {"c0ffee"}
    assert all("/resolve/main/" in path for path in asked if dice not in path)
    hub.revision = 2
    assert main(["download", "--checkpoints", str(tmp_path), "--revision", f"{dice}=c0ffee"]) == 0
    assert f"{files.UNET} is not the published file" in capsys.readouterr().err
    assert main(["download", "--checkpoints", str(tmp_path / "b"), "--revision", f"{dice}=gone"]) == 1
    assert f"can't be had  {files.UNET}" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["main", "someone/else=main", "EEEELY/DICE-Talk="])
def test_a_revision_belongs_to_a_repository(given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "--checkpoints", str(tmp_path), "--revision", given]) == codes.USAGE
    assert "EEEELY/DICE-Talk" in capsys.readouterr().err


def test_the_hubs_own_login_is_used(tmp_path: Path) -> None:
    """Where its tools keep the token, in their order. The variable comes first."""
    assert download.hub_token({"HF_HOME": str(tmp_path)}) is None
    for folder in (tmp_path, tmp_path / "huggingface"):
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(f"of {folder.name}\n")
    (tmp_path / "mine").write_text("mine")
    caches = {"XDG_CACHE_HOME": str(tmp_path)}
    assert download.hub_token(caches) == "of huggingface"
    assert download.hub_token({**caches, "HF_HOME": str(tmp_path)}) == f"of {tmp_path.name}"
    assert download.hub_token({"HF_HOME": str(tmp_path), "HF_TOKEN_PATH": str(tmp_path / "mine")}) == "mine"
    assert download.hub_token({"HF_HOME": str(tmp_path), download.TOKEN_VARIABLE: "secret"}) == "secret"
    (tmp_path / "token").write_bytes(b"\xff")
    assert download.hub_token({"HF_HOME": str(tmp_path)}) is None


@pytest.mark.parametrize("token", ["secret\nsecond line", "sécret"])
def test_a_token_that_no_request_can_carry(
    hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv(download.TOKEN_VARIABLE, token)
    assert run(tmp_path) == 1
    said = capsys.readouterr().err
    assert "The access token in HF_TOKEN has several lines" in said
    assert "cret" not in said


def test_what_was_downloaded_counts_as_published(hub: type[Hub], tmp_path: Path) -> None:
    assert run(tmp_path) == 0
    assert files.weights_label(tmp_path) == files.PUBLISHED
    (tmp_path / files.UNET).write_bytes(b"of another size")
    assert files.weights_label(tmp_path) == files.UNVERIFIED
    (tmp_path / checksums.CHECKSUMS).unlink()
    assert files.weights_label(tmp_path) == files.UNVERIFIED


def test_a_file_that_is_nowhere_does_not_keep_the_others_away(
    hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.absent = frozenset([files.YOLOFACE])
    assert run(tmp_path) == 0
    assert left(tmp_path) == {*NAMES, checksums.CHECKSUMS} - {files.YOLOFACE}
    assert f"{files.YOLOFACE}  (optional: " in capsys.readouterr().err
    hub.absent = frozenset([files.PRIORS[3], files.YOLOFACE])
    (tmp_path / files.PRIORS[3]).unlink()
    (tmp_path / files.WHISPER_CONFIG).unlink()
    assert run(tmp_path) == 1
    assert (tmp_path / files.WHISPER_CONFIG).exists()
    said, refused = capsys.readouterr()
    assert "Not all is there" in said and f"{files.PRIORS[3]}  (http" in refused and download.PRIORS_VARIABLE in refused


def test_asks_first(hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main(["download", "--checkpoints", str(tmp_path)]) == 1
    assert not left(tmp_path)


def test_the_token_goes_to_the_hub_alone(hub: type[Hub], tmp_path: Path) -> None:
    run(tmp_path)
    for path, _, authorization in hub.asked:
        assert authorization == ("Bearer secret" if "/resolve/" in path else None)


def interrupted(hub: type[Hub], folder: Path, name: str) -> None:
    """Leaves a file of which 600 bytes are missing."""
    hub.cut = 600
    with pytest.raises(DownloadFailed, match="broke off"):
        fetch(folder, described(name))
    assert not (folder / name).exists()
    (part,) = left(folder)
    assert (folder / part).stat().st_size == SIZE - 600
    hub.cut = 0


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", [LARGE, SMALL, files.PRIORS[0]])
def test_goes_on_where_it_was_cut_off(hub: type[Hub], tmp_path: Path, name: str, ranges: bool) -> None:
    interrupted(hub, tmp_path, name)
    hub.ranges = ranges
    fetch(tmp_path, described(name))
    assert (tmp_path / name).read_bytes() == hub.content(name)
    assert hub.asked[-1][1] == f"bytes={SIZE - 600}-"
    assert left(tmp_path) == {name, checksums.CHECKSUMS}


@pytest.mark.parametrize("name", [LARGE, SMALL])
def test_goes_on_by_itself_as_long_as_more_comes(hub: type[Hub], tmp_path: Path, name: str) -> None:
    hub.at_most = 500
    fetch(tmp_path, described(name))
    assert (tmp_path / name).read_bytes() == hub.content(name)
    assert [asked[1] for asked in hub.asked if asked[1]][-1] == "bytes=1500-"


@pytest.mark.parametrize("name", [LARGE, SMALL])
def test_two_revisions_are_never_joined(hub: type[Hub], tmp_path: Path, name: str) -> None:
    interrupted(hub, tmp_path, name)
    hub.revision = 2
    fetch(tmp_path, described(name))
    assert (tmp_path / name).read_bytes() == hub.content(name)
    assert hub.asked[-1][1] is None
    assert left(tmp_path) == {name, checksums.CHECKSUMS}


def test_a_revision_published_while_downloading(hub: type[Hub], tmp_path: Path) -> None:
    interrupted(hub, tmp_path, LARGE)
    asked_before = described(LARGE)
    hub.revision = 2
    with pytest.raises(DownloadFailed, match="whole"):
        fetch(tmp_path, asked_before)
    assert not left(tmp_path)
    fetch(tmp_path, described(LARGE))
    assert (tmp_path / LARGE).read_bytes() == hub.content(LARGE)


@pytest.mark.parametrize("name", [LARGE, SMALL])
def test_a_new_revision_from_a_server_that_does_not_know_if_range(hub: type[Hub], tmp_path: Path, name: str) -> None:
    interrupted(hub, tmp_path, name)
    asked_before = described(name)
    hub.revision, hub.knows_if_range = 2, False
    with pytest.raises(DownloadFailed, match="has changed"):
        fetch(tmp_path, asked_before)
    assert not left(tmp_path)


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_partial_file_of_full_size_or_more(hub: type[Hub], tmp_path: Path, extra: bytes) -> None:
    interrupted(hub, tmp_path, LARGE)
    (part,) = left(tmp_path)
    (tmp_path / part).write_bytes(hub.content(LARGE) + extra)
    fetch(tmp_path, described(LARGE))
    assert (tmp_path / LARGE).read_bytes() == hub.content(LARGE)


def test_what_is_damaged_on_the_way_is_not_kept(hub: type[Hub], tmp_path: Path) -> None:
    interrupted(hub, tmp_path, LARGE)
    (part,) = left(tmp_path)
    (tmp_path / part).write_bytes(bytes(SIZE - 600))
    with pytest.raises(DownloadFailed, match="whole"):
        fetch(tmp_path, described(LARGE))
    assert not left(tmp_path)


def test_a_file_that_is_in_place_has_its_checksum(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the download breaks off: a file in place is not fetched again."""
    noted: list[bool] = []

    def commit(part: Path, target: Path) -> None:
        noted.append(LARGE in checksums.checksums(tmp_path))
        atomic.commit(part, target)

    monkeypatch.setattr(download, "commit", commit)
    fetch(tmp_path, described(LARGE))
    assert noted == [True] and (tmp_path / LARGE).stat().st_size == SIZE


def test_a_server_that_is_not_there_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(download.HUB_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setenv(download.PRIORS_VARIABLE, "http://127.0.0.2:9/emo")
    assert run(tmp_path) == codes.NOT_THERE
    hub, priors = capsys.readouterr().err.splitlines()
    assert hub.startswith("127.0.0.1:9 can't be reached, where 13 files lie.") and download.HUB_VARIABLE in hub
    assert (
        priors.startswith(f"127.0.0.2:9 can't be reached, where {len(Emotion)} files lie.")
        and download.PRIORS_VARIABLE in priors
    )


@pytest.mark.parametrize(("code", "advice"), [(403, download.TOKEN_VARIABLE), (404, download.PRIORS_VARIABLE)])
def test_a_refusal_is_explained(hub: type[Hub], tmp_path: Path, code: int, advice: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(hub, "do_GET", lambda self: self.send_error(code))
    with pytest.raises(DownloadFailed) as caught:
        described(files.VAE)
    assert str(code) in str(caught.value) and advice in str(caught.value.detail)


def test_a_disk_that_cannot_be_written_is_explained(hub: type[Hub], tmp_path: Path) -> None:
    remote = described(LARGE)
    (tmp_path / f"{LARGE}.{remote.sha256}.part").mkdir(parents=True)
    with pytest.raises(DownloadFailed, match="can't be written"):
        fetch(tmp_path, remote)


def test_doctor_finds_changed_files(hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    content = (tmp_path / files.VAE).read_bytes()
    (tmp_path / files.VAE).write_bytes(content[:-1] + b"?")
    assert main(["doctor", "--checkpoints", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"problem  file {files.VAE}" in said
    assert said.count("checksum right") == len(NAMES) - 1
