"""Downloads the published checkpoints: sizes first, resumable, checked, with recorded checksums. Runs without torch."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlsplit

import requests
from tqdm import tqdm

from dice_talk.atomic import commit
from dice_talk.diffusion.checksums import Checksum, checksum_of, checksums, note
from dice_talk.diffusion.files import DICE_LICENCE, HUB_FILES, PRIORS
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import DiceTalkError

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105
HUB_VARIABLE, HUB = "HF_ENDPOINT", "https://huggingface.co"
"""The variable that the hub's own tools and its mirrors use."""
PRIORS_VARIABLE = "DICE_TALK_EMO_URL"
PRIORS_URL = "https://raw.githubusercontent.com/toto222/DICE-Talk/main/examples/emo"
"""The emotion priors are not on the hub but in the published project's code repository."""
_PARTIAL = ".part"
_BLOCK = 1 << 20
_TIMEOUTS_S = 15, 60
"""Seconds for the first byte of a response, and for each block."""
_ASKED_AT_ONCE = 8
_SHA256 = re.compile(r"[0-9a-f]{64}")
LATEST = "main"
_SMALL_BYTES = 1 << 20
"""The hub knows no SHA-256 of small files. To compare one, its content is read."""


class DownloadFailed(DiceTalkError):
    """A file could not be downloaded completely."""


class HostUnreachable(DownloadFailed):
    """The host does not answer, or stops answering."""

    def __init__(self, message: str, detail: str, host: str) -> None:
        super().__init__(ErrorCode.DOWNLOAD_FAILED, message, detail)
        self.host = host


@dataclass(frozen=True)
class Remote:
    """A file to download. `token`: access to the hub. `pinned`: of a revision that was asked for.

    The other fields are what the server reports. `size` in bytes. A changed `etag` means another revision. `sha256`:
    the hub knows it for all large files. `commit`: the revision of the whole repository.
    """

    path: str
    url: str
    licence: str
    repo: str | None = None
    token: str | None = field(default=None, repr=False)
    pinned: bool = False
    size: int | None = None
    etag: str | None = None
    sha256: str | None = None
    commit: str | None = None


Descriptions = tuple[list[Remote], dict[str, DownloadFailed]]
"""Files as the servers describe them, and by path, why others cannot be had."""


def remotes(revisions: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> list[Remote]:
    """Return where every file lies: on the hub, or on the mirrors that the environment names.

    `revisions`: branch, tag or commit by repository; the latest of all others.
    """
    hub = environment.get(HUB_VARIABLE, HUB).rstrip("/")
    priors = environment.get(PRIORS_VARIABLE, PRIORS_URL).rstrip("/")
    token = hub_token(environment)
    found = [
        Remote(
            source.path,
            f"{hub}/{source.repo}/resolve/{quote(revisions.get(source.repo, LATEST), safe='')}/{source.name}",
            source.licence,
            source.repo,
            token,
            source.repo in revisions,
        )
        for source in HUB_FILES
    ]
    return found + [Remote(path, f"{priors}/{Path(path).name}", DICE_LICENCE) for path in PRIORS]


def hub_token(environment: Mapping[str, str]) -> str | None:
    """Return the access token: from the environment, or from the file in which the hub's own login keeps it.

    Raises `DownloadFailed` if a request cannot carry it.
    """
    if token := environment.get(TOKEN_VARIABLE, "").strip():
        return _checked(token, TOKEN_VARIABLE)
    caches = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(environment.get("HF_HOME") or caches / "huggingface")
    file = Path(environment.get("HF_TOKEN_PATH") or home / "token")
    try:
        token = file.expanduser().read_text().strip()
    except (OSError, ValueError, RuntimeError):  # there is none; no text; no home
        return None
    return _checked(token, f"the file {file}") if token else None


def _checked(token: str, source: str) -> str:
    if token.isascii() and token.isprintable():
        return token
    raise DownloadFailed(
        ErrorCode.DOWNLOAD_FAILED,
        f"The access token in {source} has several lines, or characters that no token has",
        "Put the token there alone, on one line.",
    )


def needed(folder: Path, wanted: list[Remote]) -> tuple[list[Remote], list[Remote]]:
    """Return the files that are not there, and those that are no longer what was downloaded. Reads all that is."""
    noted = checksums(folder)
    absent = [remote for remote in wanted if not (folder / remote.path).exists()]
    there = [remote for remote in wanted if (folder / remote.path).is_file() and remote.path in noted]
    return absent, [remote for remote in there if not _is_as_noted(folder / remote.path, noted[remote.path])]


def unverified(folder: Path, wanted: list[Remote]) -> list[Remote]:
    """Return the files that did not come through `fetch`, and those of which a certain revision is wanted."""
    noted = checksums(folder)
    return [
        remote for remote in wanted if (folder / remote.path).is_file() and (remote.pinned or remote.path not in noted)
    ]


def describe_all(asked: list[Remote]) -> Descriptions:
    """Ask for all of them, several at a time."""
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        answers = [(remote.path, pool.submit(describe, remote)) for remote in asked]
    refused = {path: error for path, answer in answers if isinstance(error := answer.exception(), DownloadFailed)}
    return [answer.result() for path, answer in answers if path not in refused], refused


def is_published(folder: Path, remote: Remote) -> bool | None:
    """Whether a file is the one that the server has, whose checksum is then noted; None if that can't be found out.

    `remote`: as the server describes it. Raises `DownloadFailed`.
    """
    there = checksum_of(folder / remote.path)
    wanted = remote.sha256
    if wanted is None and remote.size is not None and remote.size <= _SMALL_BYTES:
        with _explained(remote), _ask(remote) as answer:
            wanted = hashlib.sha256(answer.content).hexdigest()
    if wanted is None:
        return None
    if there.sha256 == wanted:
        note(folder, remote.path, there)
    return there.sha256 == wanted


def describe(remote: Remote) -> Remote:
    """Ask for size, revision and checksum. The hub sends the last one with the redirect to its storage.

    The content is not read. HEAD would do, but URLs signed for GET need not answer it. Raises `DownloadFailed`.
    """
    with _explained(remote), _ask(remote) as answer:
        length, etag = answer.headers.get("Content-Length"), answer.headers.get("ETag")
        hops = [hop.headers for hop in (*answer.history, answer)]
    linked = [headers.get("X-Linked-Etag", "").strip('"') for headers in hops]
    sha256 = next((name for name in linked if _SHA256.fullmatch(name)), None)
    commit = next((headers["X-Repo-Commit"] for headers in hops if "X-Repo-Commit" in headers), None)
    return replace(remote, size=int(length) if length else None, etag=etag, sha256=sha256, commit=commit)


def fetch(folder: Path, remote: Remote) -> None:
    """Download one file, resuming an earlier attempt, and record its checksum. Raises `DownloadFailed`.

    A broken transfer is resumed as long as each attempt makes progress.
    """
    target = folder / remote.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{_revision(remote)}{_PARTIAL}")
    for other in target.parent.glob(f"{target.name}.*{_PARTIAL}"):
        if other != part:
            other.unlink()  # begun from another revision
    with _explained(remote):
        while not _transferred(remote, part):
            pass
    got = checksum_of(part)
    if remote.size not in (None, got.size) or remote.sha256 not in (None, got.sha256):
        if remote.size is None or got.size >= remote.size:
            part.unlink()  # going on would never end well
        raise DownloadFailed(ErrorCode.DOWNLOAD_FAILED, f"{remote.path} did not arrive whole", "Run the command again.")
    note(folder, remote.path, got)  # first, for a file without a checksum would not count as downloaded
    commit(part, target)


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of `folder`, which need not exist yet."""
    there = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    return shutil.disk_usage(there).free


def _is_as_noted(file: Path, noted: Checksum) -> bool:
    return file.stat().st_size == noted.size and checksum_of(file) == noted


def _revision(remote: Remote) -> str:
    """Return a name for what is being downloaded, for use in a file name."""
    return re.sub(r"\W", "", remote.sha256 or remote.etag or "")[:64] or "unknown"


def _transferred(remote: Remote, part: Path) -> bool:
    """Whether the file is complete; False if the transfer broke off after making progress."""
    before = _size(part)
    try:
        _transfer(remote, part)
    except requests.RequestException:
        if _size(part) <= before:
            raise
        return False
    return True


def _transfer(remote: Remote, part: Path) -> None:
    there = _size(part) if remote.etag else 0
    if there and there == remote.size:
        return
    if there > (remote.size or 0):
        there = 0  # nobody knows of what
    # With If-Range, a server that has another revision by now sends all of that, instead of its end.
    headers = {"Range": f"bytes={there}-", "If-Range": str(remote.etag)} if there else {}
    with _ask(remote, headers) as answer:
        if answer.status_code == HTTPStatus.OK:
            there = 0
        elif not _continues(answer, remote, there):  # a server that does not know If-Range
            part.unlink()
            raise DownloadFailed(ErrorCode.DOWNLOAD_FAILED, f"{remote.path} has changed", "Run the command again.")
        with (
            part.open("ab" if there else "wb") as file,
            tqdm(total=remote.size, initial=there, desc=remote.path, unit="B", unit_scale=True) as bar,
        ):
            for block in answer.iter_content(_BLOCK):
                file.write(block)
                bar.update(len(block))


def _continues(answer: requests.Response, remote: Remote, there: int) -> bool:
    """Whether a part of a file continues the `there` bytes on disk, of the same revision."""
    said = answer.headers
    return said.get("Content-Range", "").startswith(f"bytes {there}-") and said.get("ETag") in (None, remote.etag)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _ask(remote: Remote, headers: Mapping[str, str] | None = None) -> requests.Response:
    """Follow redirects to the hub's storage. requests does not send the token to another host."""
    asked = {"Accept-Encoding": "identity", "User-Agent": "dice-talk", **(headers or {})}
    if remote.token:
        asked["Authorization"] = f"Bearer {remote.token}"
    answer = requests.get(remote.url, headers=asked, stream=True, timeout=_TIMEOUTS_S)
    if not answer.ok:
        answer.close()
        raise DownloadFailed(
            ErrorCode.DOWNLOAD_FAILED,
            f"{remote.url} answers {answer.status_code} {answer.reason}",
            _advice(answer.status_code),
        )
    return answer


@contextmanager
def _explained(remote: Remote) -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        mirror = PRIORS_VARIABLE if remote.path in PRIORS else f"{HUB_VARIABLE}, for example to https://hf-mirror.com"
        raise HostUnreachable(
            f"{remote.url} broke off or can't be reached ({type(error).__name__})",
            f"Is there a network? For another place, set {mirror}.",
            urlsplit(remote.url).netloc,
        ) from error
    except OSError as error:
        raise DownloadFailed(
            ErrorCode.DOWNLOAD_FAILED, f"{remote.path} can't be written ({error.strerror})", "Is the disk full?"
        ) from error


def _advice(code: int) -> str:
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return (
            f"Accept the model's licence on its page while logged in, and set {TOKEN_VARIABLE} to your access token "
            "or log in with: hf auth login"
        )
    return f"Check {HUB_VARIABLE} and {PRIORS_VARIABLE}, or put the file into the checkpoints folder yourself."
