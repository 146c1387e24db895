"""Videos that lie, sent to be verified: boxes without end, deep nests, huge fields, damaged copies of real ones."""

import os
import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.conftest import Service
from tests.hostile.conftest import Watch, refused

MUTATIONS = int(os.environ.get("VIDEO_MUTATIONS", "60"))


def box(kind: bytes, content: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I", len(content) + 8 if size is None else size) + kind + content


def nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = box(b"moov", content)
    return content


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")
BOMB = b"<!DOCTYPE a [" + b"".join(
    b'<!ENTITY e%d "%s">' % (level, b"&e%d;" % (level - 1) * 10 if level else b"x" * 100) for level in range(10)
)
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
LIES = {
    "no box after the first": FTYP,
    "a box of size 1 without its length": FTYP + box(b"moov", size=1),
    "a box of size 0 to the end": FTYP + box(b"moov", bytes(100), size=0),
    "a box that is shorter than its head": FTYP + box(b"moov", bytes(100), size=4),
    "a box beyond the end": FTYP + box(b"moov", bytes(100), size=2**31),
    "a 64-bit box beyond the end": FTYP + struct.pack(">I4sQ", 1, b"moov", 2**63 + 9),
    "a hundred thousand empty boxes": FTYP + box(b"free") * 100_000,
    "boxes in boxes in boxes": FTYP + nested(20_000),
    "two moovs": FTYP + nested(2) * 2,
    "entities that grow": FTYP + box(b"uuid", XMP + BOMB + b"]><a>&e9;</a>"),
    "an XMP packet of a megabyte of tags": FTYP + box(b"uuid", XMP + b"<a>" * 330_000),
    "a uuid box without a uuid": FTYP + box(b"uuid", b"short"),
    "keys that promise a million entries": FTYP
    + box(b"moov", box(b"meta", bytes(4) + box(b"keys", struct.pack(">II", 0, 10**6)) + box(b"ilst", bytes(50)))),
    "a C2PA box of nonsense": FTYP + box(b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + bytes(2000)),
    "a path for a name": b"../../etc/passwd",
    "a script": b"<script>alert(1)</script>" * 50,
    "a URL list for FFmpeg": b"ffconcat version 1.0\nfile 'http://127.0.0.1/x'\n",
    "an HLS list": b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
}


def verify(server: Service, content: bytes) -> requests.Response:
    return requests.post(f"{server.url}/api/v1/verify", files={"video": content}, timeout=60)


@pytest.fixture(scope="module")
def video(watch: Watch) -> bytes:
    return bytes(watch.service.download(watch.finished).content)


@pytest.fixture(scope="module")
def dice() -> Iterator[random.Random]:
    yield random.Random(os.environ.get("SEED", "1"))


@pytest.mark.parametrize("content", LIES.values(), ids=LIES)
def test_a_file_that_lies_is_refused_or_has_no_labels(server: Service, content: bytes) -> None:
    answer = verify(server, content)
    if answer.status_code == 200:
        assert not any(answer.json()["labels"].values()) and not answer.json()["made_here"]
    else:
        refused(answer, 400)


def test_a_real_video_among_lies_is_still_recognised(server: Service, video: bytes) -> None:
    found = verify(server, video).json()
    assert found["made_here"] and found["labels"]["aigc"]["Label"] == "1"
    longer = verify(server, video + box(b"free") * 10_000)
    assert longer.json()["made_here"] is False and longer.json()["labels"] == found["labels"]


def test_spoilt_copies_of_a_real_video(server: Service, video: bytes, dice: random.Random) -> None:
    """Bytes changed, cut out, doubled: an answer in the documented form, and never the word that it was made here."""
    for _ in range(MUTATIONS):
        content, start = bytearray(video), dice.randrange(len(video))
        kind = dice.choice(("change", "cut", "double", "truncate"))
        stop = start + dice.randrange(1, 300)
        if kind == "change":
            content[start:stop] = dice.randbytes(len(content[start:stop]))
        elif kind == "cut":
            del content[start:stop]
        elif kind == "double":
            content[start:start] = content[start:stop]
        else:
            del content[start:]
        answer = verify(server, bytes(content))
        if answer.status_code == 200:
            assert answer.json()["made_here"] is False
        else:
            refused(answer, 400)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"video": "text"}, 400),
        ({}, 422),
        ({"film": b"x"}, 422),
        ({"video": b"x", "extra": b"y"}, 422),
    ],
    ids=["text for a file", "nothing", "another name", "one file too many"],
)
def test_forms_without_a_video(server: Service, fields: dict[str, Any], status: int) -> None:
    form: dict[str, Any] = {name: (None if isinstance(value, str) else "f", value) for name, value in fields.items()}
    answer = requests.post(f"{server.url}/api/v1/verify", files=form or {"": ""}, timeout=60)
    refused(answer, status)
