"""Fetches uv from the package index where a Python has no pip: python3 scripts/fetch_uv.py RELEASE FOLDER.

Its wheel for this machine is unpacked into FOLDER, with the program at FOLDER/bin/uv. Mirrors may list their files as
JSON or HTML, with or without digests, and ask for a name and password. Runs on Python 3.8 and newer.
"""

import base64
import hashlib
import html.parser
import io
import json
import os
import platform
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple  # noqa: UP035
from urllib.parse import parse_qsl, unquote, urldefrag, urljoin, urlsplit

INDEX = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
SYSTEM = {"Linux": "manylinux", "Darwin": "macosx"}.get(platform.system(), platform.system())
FORMS = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
DIGESTS = ("sha256", "sha384", "sha512")
Listing = List[Dict[str, Any]]  # noqa: UP006


def main(release: str, folder: Path) -> None:
    """Entry point."""
    index, authorization = without_password(INDEX)
    page = f"{index.rstrip('/')}/uv/"
    wheel = choose(listing(get(page, authorization).decode(errors="replace")), release)
    url = urljoin(page, wheel["url"])
    data = get(url, authorization if urlsplit(url)[:2] == urlsplit(index)[:2] else None)
    for name, digest in wheel.get("hashes", {}).items():
        if name in DIGESTS and hashlib.new(name, data).hexdigest() != digest:
            sys.exit(f"{wheel['filename']} is not what the index says it is")
    program = folder / "bin" / "uv"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = archive.read(f"uv-{release}.data/scripts/uv")
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_bytes(content)
    program.chmod(0o755)


def without_password(url: str) -> "Tuple[str, Optional[str]]":  # noqa: UP006, UP045
    """Return the address without `name:password@`, and an Authorization header made of these."""
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return url, None
    return url.replace(f"{user}@", "", 1), "Basic " + base64.b64encode(unquote(user).encode()).decode()


def listing(page: str) -> Listing:
    """Return the files that an index names, as in its JSON form."""
    if page.lstrip().startswith("{"):
        return list(json.loads(page)["files"])
    links = Links()
    links.feed(page)
    return links.files


class Links(html.parser.HTMLParser):
    """Collects the links of the HTML form, whose fragment may hold a digest."""

    def __init__(self) -> None:
        super().__init__()
        self.files: Listing = []

    def handle_starttag(self, tag: str, attrs: "List[Tuple[str, Optional[str]]]") -> None:  # noqa: UP006, UP045
        """Collect the link of a tag."""
        address = dict(attrs).get("href")
        if tag == "a" and address:
            url, fragment = urldefrag(address)
            name = unquote(urlsplit(url).path.rpartition("/")[2])
            self.files.append({"filename": name, "url": url, "hashes": dict(parse_qsl(fragment))})


def choose(files: Listing, release: str) -> "dict[str, Any]":
    """Return the wheel of `release` for this machine."""
    for file in files:
        name = file["filename"]
        if name.startswith(f"uv-{release}-py3-none-") and SYSTEM in name and platform.machine() in name:
            return file
    sys.exit(f"the index has no uv {release} for {platform.system()} {platform.machine()}")


def get(url: str, authorization: "Optional[str]") -> bytes:  # noqa: UP045
    """Return the body of a response."""
    request = urllib.request.Request(url, headers={"Accept": FORMS})
    if authorization:
        request.add_unredirected_header("Authorization", authorization)  # not for the host that a mirror refers to
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())
    except OSError as error:
        sys.exit(f"{url} cannot be read: {error}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
