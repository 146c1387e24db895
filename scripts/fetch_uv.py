"""Fetches uv from the package index where a Python has no pip: python3 scripts/fetch_uv.py RELEASE FOLDER.

Its wheel for this machine is unpacked into FOLDER, with the program at FOLDER/bin/uv. Runs on Python 3.8 and newer.
"""

import hashlib
import io
import json
import os
import platform
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

INDEX = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
SYSTEM = {"Linux": "manylinux", "Darwin": "macosx"}.get(platform.system(), platform.system())
FORM = "application/vnd.pypi.simple.v1+json"


def main(release: str, folder: Path) -> None:
    """Entry point."""
    page = f"{INDEX.rstrip('/')}/uv/"
    wheel = choose(json.loads(get(page))["files"], release)
    data = get(urllib.parse.urljoin(page, wheel["url"]))
    if hashlib.sha256(data).hexdigest() != wheel["hashes"]["sha256"]:
        sys.exit(f"{wheel['filename']} is not what the index says it is")
    program = folder / "bin" / "uv"
    program.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        program.write_bytes(archive.read(f"uv-{release}.data/scripts/uv"))
    program.chmod(0o755)


def choose(files: "list[dict[str, Any]]", release: str) -> "dict[str, Any]":
    """The wheel of `release` for this machine."""
    for file in files:
        name = file["filename"]
        if name.startswith(f"uv-{release}-py3-none-") and SYSTEM in name and platform.machine() in name:
            return file
    sys.exit(f"the index has no uv {release} for {platform.system()} {platform.machine()}")


def get(url: str) -> bytes:
    """The answer's body."""
    request = urllib.request.Request(url, headers={"Accept": FORM})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
