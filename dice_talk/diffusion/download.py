"""Fetches the published checkpoints: sizes shown first, resumable, checksums recorded. Light: no torch."""

import hashlib
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from dice_talk.diffusion.files import DICE_LICENCE, HUB_FILES, PRIORS, Source
from dice_talk.errors import DiceTalkError

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105
HUB_VARIABLE, HUB = "HF_ENDPOINT", "https://huggingface.co"
"""The variable that the hub's own tools and its mirrors use."""
PRIORS_VARIABLE = "DICE_TALK_EMO_URL"
PRIORS_URL = "https://raw.githubusercontent.com/toto222/DICE-Talk/main/examples/emo"
"""The emotion priors are not on the hub: they lie in the published project's code repository."""
CHECKSUMS = "checksums.json"
"""SHA-256 of what was downloaded, by path, in the checkpoints folder."""
_PARTIAL = ".part"
_BLOCK = 1 << 20
_TIMEOUT_S = 60

Bar = Callable[[str, int, int], None]
"""Shows how far a file is: path, bytes there, bytes in all (0 when unknown)."""


class DownloadFailed(DiceTalkError):
    """A file could not be fetched whole."""


@dataclass(frozen=True)
class Remote:
    """A file to fetch. `size` in bytes, None when the server does not say. `token`: access to the hub."""

    path: str
    url: str
    licence: str
    token: str | None = field(default=None, repr=False)
    size: int | None = None


def remotes(environment: Mapping[str, str] = os.environ) -> list[Remote]:
    """Where every file lies: the hub, or the mirrors named in the environment."""
    hub = environment.get(HUB_VARIABLE, HUB).rstrip("/")
    priors = environment.get(PRIORS_VARIABLE, PRIORS_URL).rstrip("/")
    token = environment.get(TOKEN_VARIABLE)
    found = [Remote(source.path, _hub_url(hub, source), source.licence, token) for source in HUB_FILES]
    return found + [Remote(path, f"{priors}/{Path(path).name}", DICE_LICENCE) for path in PRIORS]


def missing(folder: Path, wanted: list[Remote]) -> list[Remote]:
    """Those that are not there yet, with their sizes asked for."""
    return [_sized(remote) for remote in wanted if not (folder / remote.path).exists()]


def fetch(folder: Path, remote: Remote, bar: Bar) -> None:
    """Downloads one file, going on where an earlier try ended, and records its checksum. Raises `DownloadFailed`."""
    target = folder / remote.path
    partial = target.with_name(target.name + _PARTIAL)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _explained(remote):
        if remote.size is not None and partial.exists() and partial.stat().st_size > remote.size:
            partial.unlink()  # of another file: going on would never end well
        if remote.size is None or not partial.exists() or partial.stat().st_size < remote.size:
            _transfer(remote, partial, bar)
    got = partial.stat().st_size
    if remote.size is not None and got != remote.size:
        raise DownloadFailed(f"{remote.path} has {got} bytes instead of {remote.size}", "Run the command again.")
    record(folder, remote.path, sha256(partial))
    partial.replace(target)


def record(folder: Path, path: str, checksum: str) -> None:
    """Notes the checksum of a file that was downloaded."""
    noted = {**checksums(folder), path: checksum}
    written = folder / (CHECKSUMS + _PARTIAL)
    written.write_text(json.dumps(noted, indent=2, sort_keys=True) + "\n")
    written.replace(folder / CHECKSUMS)


def checksums(folder: Path) -> dict[str, str]:
    """Checksums that were recorded, by path; none where they can't be read."""
    try:
        noted = json.loads((folder / CHECKSUMS).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return {path: str(checksum) for path, checksum in noted.items()} if isinstance(noted, dict) else {}


def sha256(path: Path) -> str:
    """Checksum of a file, read block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def free_bytes(folder: Path) -> int:
    """Room on the disk that `folder` is, or will be, on."""
    there = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    return shutil.disk_usage(there).free


def _hub_url(hub: str, source: Source) -> str:
    return f"{hub}/{source.repo}/resolve/main/{source.name}"


def _sized(remote: Remote) -> Remote:
    with _explained(remote), _open(remote, "HEAD") as answer:
        length = answer.headers.get("Content-Length")
    return replace(remote, size=int(length) if length else None)


def _transfer(remote: Remote, partial: Path, bar: Bar) -> None:
    there = partial.stat().st_size if partial.exists() else 0
    try:
        answer = _open(remote, "GET", there)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not there:
            raise
        error.close()
        if error.headers.get("Content-Range") == f"bytes */{there}":
            return  # all of it was there
        partial.unlink()
        there, answer = 0, _open(remote, "GET")
    with answer:
        if there and not _continues(answer, there):
            there = 0  # the server sends the file from its beginning
        with partial.open("ab" if there else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                there += len(block)
                bar(remote.path, there, remote.size or 0)


def _continues(answer: HTTPResponse, start: int) -> bool:
    said = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return answer.status == 206 and said is not None and int(said[1]) == start


def _open(remote: Remote, method: str, start: int = 0) -> HTTPResponse:
    if not remote.url.startswith(("https://", "http://")):
        raise ValueError("not a web address")
    request = urllib.request.Request(remote.url, method=method, headers={"User-Agent": "dice-talk"})  # noqa: S310
    if start:
        request.add_header("Range", f"bytes={start}-")
    if remote.token:
        # Not carried along when the hub sends us on to where it stores its files.
        request.add_unredirected_header("Authorization", f"Bearer {remote.token}")
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    return answer


@contextmanager
def _explained(remote: Remote) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadFailed(f"{remote.url} answers {error.code} {error.reason}", _advice(error.code)) from error
    except (OSError, HTTPException, ValueError) as error:
        advice = f"Is there a network? Behind a mirror, set {HUB_VARIABLE}, for example to https://hf-mirror.com."
        raise DownloadFailed(f"{remote.url} can't be reached ({error})", advice) from error


def _advice(code: int) -> str:
    if code in (401, 403):
        return f"Accept the model's licence on its page while logged in, and set {TOKEN_VARIABLE} to your access token."
    return f"Check {HUB_VARIABLE} and {PRIORS_VARIABLE}, or put the file into the checkpoints folder yourself."
