"""Pictures that are bombs, other files in disguise, or merely rare."""

import io
import json
import os
import re
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from dice_talk import child as confined
from dice_talk.errors import InvalidImage
from dice_talk.image import load_portrait
from tests.conftest import ROOT, Service
from tests.hostile.conftest import START, needs_proc, refused
from tests.hostile.samples import (
    COLOUR,
    MARK,
    SIDE,
    chunk,
    encode,
    exif,
    flat,
    id3,
    pictures,
    png,
    riff,
    segment,
    sound,
    wav,
    with_chunks,
    with_segments,
)
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("honest_at_the_end")


def upload(server: Service, image: bytes, speech: Path, name: str) -> requests.Response:
    """As a browser sends it: with a name and a type, which are lies here."""
    kind = "image/png" if name.endswith("png") else "image/jpeg"
    files = {"image": (name, image, kind), "audio": ("speech.wav", speech.read_bytes(), "audio/wav")}
    return requests.post(f"{server.url}{START}", files=files, data={"emotion": "sad", "duration": 0.2}, timeout=200)


FILLED = zlib.compress(bytes(60_000_000), 9)  # 58 KB


def many_scans() -> bytes:
    """The last scan, which refines every pixel, 3000 times: each of its 75 bytes costs half a millisecond."""
    picture = encode(Image.new("L", (7000, 7000)), "JPEG", progressive=True)
    return picture[:-2] + picture[picture.rindex(b"\xff\xda") : -2] * 3000 + picture[-2:]


FRAMES = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + b"".join(
    chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 2**31 - 1, 2**31 - 1, 0, 0, 1, 1, 0, 0)) for number in range(5000)
)
DAMAGED, TOO_MANY = "The image can't be decoded", "The image has too many pixels"
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "64 megapixels in 62 KB": (lambda: png(8000, 8000, 8, 0, bytes(8001 * 8000)), TOO_MANY),
    "10 terapixels": (lambda: png(2**31 - 1, 5000, 8, 2, b"\0"), TOO_MANY),
    "no pixels": (lambda: png(0, 0, 8, 2, b""), "The image is too small"),
    "a negative size": (lambda: png(2**32 - 1, 2**32 - 1, 8, 2, b""), TOO_MANY),
    "pixels that are missing": (lambda: png(7000, 7000, 8, 2, b"\0" * 1000), DAMAGED),
    "60 MB of text": (lambda: with_chunks(chunk(b"zTXt", b"k\0\0" + FILLED)), DAMAGED),
    "60 MB of international text": (lambda: with_chunks(chunk(b"iTXt", b"k\0\1\0\0\0" + FILLED)), DAMAGED),
    "60 MB of colour profile": (lambda: with_chunks(chunk(b"iCCP", b"k\0\0" + FILLED)), DAMAGED),
    "500 MB in 500 texts": (
        lambda: with_chunks(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000), 9)) * 500),
        DAMAGED,
    ),
    "a chunk of 4 GB": (lambda: encode(flat(), "PNG")[:33] + b"\xff\xff\xff\xfftEXt", DAMAGED),
    "1 x 1": (lambda: encode(Image.new("RGB", (1, 1)), "PNG"), "The image is too small"),
    "1 x 65500": (lambda: encode(Image.new("L", (1, 65500)), "JPEG"), "The image is too small"),
    "64 x 65500": (lambda: encode(Image.new("L", (64, 65500)), "JPEG"), "The image is too long and narrow"),
    "65500 x 65500": (
        lambda: re.sub(rb"(\xff\xc0\0.\x08)....", b"\\1\xff\xdc\xff\xdc", encode(flat(), "JPEG"), flags=re.DOTALL),
        TOO_MANY,
    ),
    "3000 scans of 49 megapixels": (lambda: many_scans(), "The image has too many scans"),
}


@pytest.mark.usefixtures("then_honest")
@pytest.mark.parametrize("name", BOMBS)
def test_bombs(server: Service, speech: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data, message = BOMBS[name]
    impatient = tmp_path / "python"  # so that the one that takes for ever does not
    impatient.write_text(f'#!/bin/sh\nulimit -t 3\nexec {sys.executable} "$@"\n')
    impatient.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(impatient))
    start = time.monotonic()
    assert message in refused(upload(server, data(), speech, "portrait.png"), 400)
    assert time.monotonic() - start < 30


HTML = b"<html><script>alert(document.domain)</script><img src=x onerror=alert(1)>"


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("../../evil.py", "print()")
    return buffer.getvalue()


HONEST = pictures()
GREY = (128, 128, 128)
RARE = {
    **{
        name: (data, None if "grey" in name.lower() or "1-bit" in name else COLOUR) for name, data in pictures().items()
    },
    "CMYK JPEG without Adobe's mark": (
        re.sub(rb"\xff\xee\0\x0eAdobe.{7}", b"", encode(Image.new("CMYK", (SIDE, SIDE)), "JPEG"), flags=re.DOTALL),
        (255, 255, 255),
    ),
    "16-bit grey PNG, half": (png(SIDE, SIDE, 16, 0, (b"\0" + b"\x80\0" * SIDE) * SIDE), GREY),
    "wholly transparent": (encode(Image.new("RGBA", (SIDE, SIDE)), "PNG"), (255, 255, 255)),
    "JPEG and HTML": (with_segments(segment(0xFE, HTML)) + HTML, COLOUR),
    "HTML in a PNG": (with_chunks(chunk(b"tEXt", b"Comment\0" + HTML)) + HTML, COLOUR),
    "PNG and ZIP": (encode(flat(), "PNG") + archive(), COLOUR),
    "JPEG and script": (encode(flat(), "JPEG") + b"<?php system($_GET['c']); ?>", COLOUR),
    "5000 frames of 4 exapixels": (with_chunks(FRAMES), COLOUR),  # which nobody looks at
    "broken EXIF data": (with_chunks(chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + bytes(range(256)) * 99)), COLOUR),
    "EXIF data that point at themselves": (
        with_chunks(chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08\0\0\0\x08")),
        COLOUR,
    ),
    "an unheard-of orientation": (encode(flat(), "JPEG", exif=exif(orientation=99)), COLOUR),
    "a broken profile": (encode(flat(), "PNG", icc_profile=bytes(range(256)) * 9), COLOUR),
}


@pytest.mark.parametrize("name", RARE)
def test_rare_but_honest(server: Service, speech: Path, tmp_path: Path, name: str) -> None:
    data, colour = RARE[name]
    file = tmp_path / "picture"
    file.write_bytes(data)
    pixels = load_portrait(file)
    assert pixels.shape == (SIDE, SIDE, 3)
    if colour:
        assert np.abs(pixels.mean(axis=(0, 1)) - colour).max() < 4
    answer = upload(server, data, speech, "portrait.jpg")
    assert answer.status_code == 200, answer.text
    assert server.wait(answer.json()["task_id"])["status"] == "COMPLETED"


def foreign() -> dict[str, bytes]:
    """Other types, some of which read files or run programs where they are decoded."""
    ours = ("TIFF", "GIF", "WEBP", "BMP", "ICO", "EPS", "PPM", "PDF", "TGA", "SGI", "PCX", "ICNS")
    picture = Image.new("RGB", (128, 128), COLOUR)
    return {
        **{kind: encode(picture, kind) for kind in ours},
        "big TIFF": encode(picture, "TIFF", big_tiff=True, compression="tiff_lzw"),
        "SVG": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg>&e;</svg>',
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(/etc/passwd) run\nshowpage\n",
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 64, 64, 8, 3) + bytes(20000),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500),
        "AVIF": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(500),
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 " + bytes(500),
        "XPM": b'/* XPM */\nstatic char *x[] = {"64 64 1 1", "a c #000000"};',
        "ImageMagick's script": b"push graphic-context\nimage over 0,0 0,0 'file:///etc/passwd'\n",
        "HTML": HTML,
        "ZIP": archive(),
        "text": b"hello",
        "nothing but a PNG's start": b"\x89PNG\r\n\x1a\n",
        "nothing but a JPEG's start": b"\xff\xd8\xff",
    }


FOREIGN = foreign()
PROOF = """
import json, sys
from pathlib import Path
from PIL import Image
from dice_talk.errors import InvalidImage
from dice_talk.image import load_portrait
Image.init()
tried, decoders = set(), set()
for kind, (factory, accept) in Image.OPEN.items():
    Image.OPEN[kind] = (lambda *a, kind=kind, factory=factory: tried.add(kind) or factory(*a), accept)
original = Image._getdecoder
Image._getdecoder = lambda mode, name, *rest: decoders.add(name) or original(mode, name, *rest)
for file in Path(sys.argv[1]).iterdir():
    try:
        load_portrait(file)
    except InvalidImage:
        pass
print(json.dumps([sorted(tried), sorted(decoders), len(Image.OPEN)]))
"""


@pytest.mark.parametrize("name", FOREIGN)
def test_other_types_in_disguise(server: Service, speech: Path, name: str) -> None:
    disguise = "portrait.png" if len(name) % 2 else "portrait.jpg"
    error = refused(upload(server, FOREIGN[name], speech, disguise), 400)
    assert error.startswith("Invalid image file type")


def test_no_other_reader_or_decoder_is_reached(tmp_path: Path) -> None:
    for number, data in enumerate([*FOREIGN.values(), *HONEST.values()]):
        (tmp_path / str(number)).write_bytes(data)
    command = [sys.executable, "-W", "ignore", "-c", PROOF, str(tmp_path)]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tried, decoders, known = json.loads(output)
    assert (tried, decoders) == (["JPEG", "PNG"], ["jpeg", "zip"])
    assert known > 30, "Pillow knows many more"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_cut_off_at_every_kilobyte(server: Service, portrait: Path, speech: Path, tmp_path: Path, kind: str) -> None:
    whole = encode(Image.open(portrait), kind)
    file = tmp_path / "picture"
    lengths = range(0, len(whole) - 20, 1024)
    assert len(lengths) > 20
    for length in lengths:
        file.write_bytes(whole[:length])
        with pytest.raises(InvalidImage):
            load_portrait(file)
    for length in lengths[1 :: len(lengths) // 3]:
        assert refused(upload(server, whole[:length], speech, "portrait.png"), 400) == DAMAGED


@needs_proc
def test_memory_and_time_are_limited_while_files_are_inspected(tmp_path: Path, speech: Path) -> None:
    """As the system says of the real child process, which waits here for a picture that does not come."""
    os.mkfifo(tmp_path / "pipe")
    child = subprocess.Popen([sys.executable, "-m", "dice_talk.intake", str(tmp_path / "pipe"), str(speech), "300"])

    def limits() -> dict[str, int]:
        lines = Path(f"/proc/{child.pid}/limits").read_text().splitlines()
        return {line[4:26].strip(): int(line[26:40]) for line in lines if line[26:40].strip().isdigit()}

    try:
        wait_for(lambda: limits().get("cpu time") == confined.CPU_SECONDS)
        assert wait_for(lambda: limits().get("address space")) == confined.MEMORY_BYTES
        assert wait_for(lambda: "core file size" in limits() and limits()["core file size"] == 0)
    finally:
        child.kill()
        child.wait()


@needs_proc
@pytest.mark.parametrize("limit", ["-v 700000", "-t 1"], ids=["memory", "time"])
def test_whoever_reaches_a_limit_is_told(
    server: Service, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """With lower limits than the service's own, so that the largest allowed picture reaches them."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nulimit {limit}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr("sys.executable", str(python))
    picture = encode(Image.new("RGBA", (7000, 7000)), "PNG", compress_level=9)
    answer = upload(server, picture, speech, "portrait.png")
    assert refused(answer, 400) == DAMAGED
    assert answer.json()["detail"] == "Reading it took too much memory or time."
    monkeypatch.undo()


@needs_proc
def test_an_inspection_that_hangs_is_ended(
    server: Service, portrait: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    monkeypatch.setattr("api.inspection.intake.TIMEOUT_S", 0.5)
    unknown = portrait.read_bytes() + b"nobody sent this before"
    assert refused(upload(server, unknown, speech, "portrait.png"), 400) == DAMAGED
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    monkeypatch.undo()


def test_metadata_never_reach_the_result(real_service: Any, portrait: Path) -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + MARK + b"</x:xmpmeta>"
    picture = encode(Image.open(portrait), "JPEG", exif=exif(orientation=1), comment=MARK, quality=90)
    picture = picture[:2] + segment(0xE1, xmp) + segment(0xED, b"Photoshop 3.0\0" + MARK) + picture[2:] + MARK
    speech = sound("WAV") + riff(b"LIST", b"INFOINAM" + struct.pack("<I", len(MARK)) + MARK) + riff(b"id3 ", id3(MARK))
    assert picture.count(MARK) >= 5
    task = real_service.submit(picture, speech)
    assert real_service.wait(task)["status"] == "COMPLETED"
    video = real_service.download(task).content
    assert MARK not in video
    assert b"52" + MARK[:3] not in video
    assert b"Exif" not in video
    assert b"ns.adobe.com" not in video
    assert video.count(b"<x:xmpmeta") == 1, "the label's own"


@pytest.mark.parametrize(
    ("size", "options"),
    [((5000, 5200), {}), ((64, 256), {}), ((64, 64), {"crop": True})],
    ids=["26 MP", "narrow", "tiny"],
)
def test_extreme_pictures_harm_no_engine(real_service: Any, portrait: Path, size: Any, options: Any) -> None:
    pool = real_service.synthesis._dispatcher.slots[0]._engines
    engines = wait_for(lambda: pids if len(pids := pool.pids()) == real_service.settings.workers else None)
    picture = encode(Image.open(portrait).resize(size), "JPEG", quality=60)
    state = real_service.wait(real_service.submit(picture, wav(), duration=0.2, min_resolution=128, **options))
    assert state["status"] == "COMPLETED" or state["detail"], state
    assert state["attempts"] == 1
    assert pool.pids() == engines
