"""Recordings that claim what is not there, other files in disguise, or merely rare."""

import http.server
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from dice_talk.audio import load_speech
from dice_talk.errors import InvalidAudio
from tests.conftest import Service
from tests.hostile.conftest import START, refused
from tests.hostile.samples import RATE, TONE, chunk, encode, flat, id3, pictures, recordings, riff, sound, wav

pytestmark = pytest.mark.usefixtures("honest_at_the_end")

WRONG_TYPE, DAMAGED = "Invalid audio file type", "The audio can't be decoded"
HOUR_S = 3600


def upload(server: Service, portrait: Path, audio: bytes, name: str = "speech.wav") -> requests.Response:
    """As a browser sends it: with a name and a type, which are lies here."""
    files = {"image": ("a.jpg", portrait.read_bytes(), "image/jpeg"), "audio": (name, audio, "audio/wav")}
    return requests.post(f"{server.url}{START}", files=files, data={"emotion": "sad", "duration": 0.2}, timeout=60)


MP3 = sound("MP3", samples=np.tile(TONE, 4))
FLOATS = "<f4"
REFUSED = {
    "no channels": (wav(channels=0), DAMAGED),
    "64 channels": (wav(channels=64, body=bytes(12800)), "64 channels"),
    "65535 channels": (wav(channels=65535), DAMAGED),
    "0 Hz": (wav(rate=0), ""),
    "1 Hz": (wav(rate=1), "sample rate"),
    "1 GHz": (wav(rate=1_000_000_000), "sample rate"),
    "4 GHz": (wav(rate=2**32 - 1), ""),
    "0 bits": (wav(bits=0), WRONG_TYPE),
    "65535 bits": (wav(bits=65535), WRONG_TYPE),
    "an unheard-of codec": (wav(tag=0xDEAD), WRONG_TYPE),
    "a header and nothing else": (wav(b""), "The audio is empty"),
    "a RIFF header and nothing else": (b"RIFF\xff\xff\xff\xffWAVE", DAMAGED),
    "a format of 4 GB": (b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff" + bytes(100), DAMAGED),
    "no format": (b"RIFF\x40\0\0\0WAVE" + riff(b"data", bytes(50)), DAMAGED),
    "30 000 chunks and no sound": (b"RIFF\xff\xff\xff\xffWAVE" + riff(b"junk", b"") * 30_000, DAMAGED),
    "RF64 of 16 exabytes": (
        b"RF64\xff\xff\xff\xffWAVE"
        + riff(b"ds64", struct.pack("<QQQI", 2**64 - 1, 2**64 - 1, 2**64 - 1, 0))
        + wav(bytes(RATE * 2), size=0xFFFFFFFF)[12:],
        DAMAGED,
    ),
    "a tag cut short": (id3(bytes(50), 200), WRONG_TYPE),
    "a tag without a recording": (id3(bytes(200)), WRONG_TYPE),
    "100 000 tags": (id3(b"") * 100_000, WRONG_TYPE),
    "nothing but sync words": (b"\xff\xfb\x90\x00" * 20_000, ""),
    "nothing but a sync word": (b"\xff\xfb", DAMAGED),
    "FLAC": (sound("FLAC"), WRONG_TYPE),
    "OGG": (sound("OGG"), WRONG_TYPE),
    "AIFF": (sound("AIFF"), WRONG_TYPE),
    "CAF": (sound("CAF"), WRONG_TYPE),
    "AU": (sound("AU"), WRONG_TYPE),
    "FLAC after a tag": (id3(bytes(10)) + sound("FLAC"), WRONG_TYPE),
    "AIFF after a tag": (id3(bytes(10)) + sound("AIFF"), WRONG_TYPE),
    "OGG after two tags": ((id3(bytes(10)) * 2) + sound("OGG"), WRONG_TYPE),
    "a picture": (encode(flat(), "JPEG"), WRONG_TYPE),
    "RIFX with its lowest byte first": (b"RIFX" + wav()[4:], DAMAGED),
    "text": (b"hello", WRONG_TYPE),
    "M4A": (b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42" + bytes(500), WRONG_TYPE),
    "MIDI": (b"MThd\0\0\0\6\0\1\0\1\0\x60" + bytes(100), WRONG_TYPE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(server: Service, portrait: Path, name: str) -> None:
    data, message = REFUSED[name]
    assert message in refused(upload(server, portrait, data, "speech.mp3" if len(name) % 2 else "speech.wav"), 400)


WILD = np.tile(np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.5], FLOATS), 1000).tobytes()
PICTURE = b"\0image/png\0\3\0" + encode(flat(), "PNG")
BROKEN = bytearray(MP3)
for start in range(400, len(BROKEN), 450):
    BROKEN[start : start + 60] = bytes(60)
SILENCE = sound("MP3", samples=np.zeros(8000 * 10), rate=8000)
RARE = {
    **{name: (data, None) for name, data in recordings().items()},
    "4 GB claimed": (wav(bytes(RATE * 2), size=0xFFFFFFF0), 1.0),
    "4 GB claimed and all of it": (wav(bytes(RATE * 2), size=0xFFFFFFFF), 1.0),
    "NaN, infinities and giants": (wav(WILD, tag=3, bits=32), None),
    "a video inside": (wav(bytes(RATE * 2)) + riff(b"movi", b"00dc" + bytes(50_000)), 1.0),
    "a video before the sound": (
        wav()[:36] + riff(b"LIST", b"movi00dc" + bytes(50_000)) + riff(b"data", bytes(RATE * 2)),
        1.0,
    ),
    "30 000 chunks before the sound": (
        wav()[:36] + riff(b"junk", b"") * 30_000 + riff(b"data", bytes(RATE * 2)),
        1.0,
    ),
    "a tag that claims 256 MB": (id3(b"", 2**28 - 1) + MP3, 2.0),
    "an odd number of bytes": (wav(bytes(RATE * 2 + 1)), 1.0),
    "one sample": (wav(bytes(2)), None),
    "MP3 with broken frames": (bytes(BROKEN), None),
    "MP3 with a tag of 7 MB": (id3(bytes(7_000_000)) + MP3, None),
    "MP3 with a picture": (
        id3(b"APIC" + struct.pack(">IH", len(PICTURE), 0) + PICTURE) + MP3,
        None,
    ),
    "MP3 with noise at its end": (MP3 + bytes(range(256)) * 100, None),
    "MP3 and HTML": (id3(b"<script>alert(1)</script>" + bytes(9)) + MP3 + b"<script>alert(1)</script>", None),
    "an hour of silence": (SILENCE[SILENCE.index(SILENCE[:2], 2) :] * (HOUR_S // 10), 300.0),  # less the first, a table
    "16 channels at 384 kHz": (wav(bytes(16 * 2 * 38400), channels=16, rate=384_000), 0.1),
}


@pytest.mark.parametrize("name", RARE)
def test_rare_but_honest(server: Service, portrait: Path, tmp_path: Path, name: str) -> None:
    data, seconds = RARE[name]
    file = tmp_path / "sound"
    file.write_bytes(data)
    speech = load_speech(file, 300)
    assert np.isfinite(speech.original).all()
    assert np.abs(speech.original).max() <= 1
    if seconds:
        assert speech.seconds == pytest.approx(seconds, abs=0.01)
    answer = upload(server, portrait, data)
    assert answer.status_code == 200, answer.text
    assert server.wait(answer.json()["task_id"])["status"] == "COMPLETED"


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[str, list[str]]]:
    """Address of a server on the loopback, and what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}", asked
        listener.shutdown()


def pointers(target: str) -> dict[str, bytes]:
    """Files that make players, FFmpeg above all, open what they name."""
    url = target.encode()
    playlist = b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\n" + url + b"\n#EXT-X-ENDLIST\n"
    link = url + b"\0" * (len(url) % 2)
    reference = struct.pack(">I4sI4sI", 12 + len(url) + 13, b"rdrf", 0, b"url ", len(url) + 1) + url + b"\0"
    return {
        "playlist": playlist,
        "playlist in UTF-8 with a mark": b"\xef\xbb\xbf" + playlist,
        "playlist after a tag": id3(bytes(20)) + playlist,
        "concatenation": b"ffconcat version 1.0\nfile '" + url + b"'\n",
        "description": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 9 RTP/AVP 0\r\na=control:" + url + b"\r\n",
        "ASX": b"<asx version='3.0'><entry><ref href='" + url + b"'/></entry></asx>",
        "DASH": b"<?xml version='1.0'?><MPD><BaseURL>" + url + b"</BaseURL></MPD>",
        "AVI": b"RIFF\xff\xff\xff\xffAVI " + riff(b"LIST", b"hdrl" + riff(b"strf", link)) + playlist,
        "AVI with subtitles": b"RIFF\xff\xff\xff\xffAVI " + riff(b"LIST", b"movi" + riff(b"00tx", b"GAB2" + playlist)),
        "MKV": b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska" + playlist,
        "MOV": struct.pack(">I4s4sI", 20, b"ftyp", b"qt  ", 0) + bytes(4) + reference,
        "WAV around a playlist": wav(playlist),
        "WAV with a playlist in a chunk": wav(bytes(3200)) + riff(b"plst", playlist) + riff(b"LIST", b"adtl" + link),
        "MP3 with a linked picture": id3(b"APIC" + struct.pack(">IH", len(url) + 7, 0) + b"\0-->\0\3\0" + url) + MP3,
        "MP3 with links": id3(b"WXXX" + struct.pack(">IH", len(url) + 2, 0) + b"\0\0" + url) + MP3,
    }


@pytest.mark.parametrize("name", pointers(""))
@pytest.mark.parametrize("where", ["file", "canary"])
def test_nothing_that_a_file_names_is_opened(
    server: Service, portrait: Path, canary: tuple[str, list[str]], name: str, where: str
) -> None:
    target = "file:///etc/passwd" if where == "file" else f"{canary[0]}/{name.replace(' ', '-')}"
    answer = upload(server, portrait, pointers(target)[name])
    if name.startswith(("MP3", "WAV")):
        task = answer.json()["task_id"]
        assert server.wait(task)["status"] == "COMPLETED"
        assert b"root:" not in server.download(task).content
    else:
        refused(answer, 400)
    assert canary[1] == []


def test_nor_what_a_picture_names(server: Service, speech: Path, canary: tuple[str, list[str]]) -> None:
    url = canary[0].encode()
    svg = b"<svg xmlns:xlink='http://www.w3.org/1999/xlink'><image xlink:href='" + url + b"/svg'/></svg>"
    picture = pictures()["RGB PNG"]
    linked = picture[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x href='" + url + b"/xmp'/>") + picture[33:]
    assert server.start(svg, speech).status_code == 400
    assert server.start(linked, speech).status_code == 200
    assert canary[1] == []


def test_the_canary_would_sing(canary: tuple[str, list[str]]) -> None:
    requests.get(f"{canary[0]}/alive", timeout=60)
    assert canary[1].pop() == "/alive"


CUT = {"WAV": sound(), "RF64": sound("RF64"), "MP3": id3(bytes(100)) + MP3}


@pytest.mark.parametrize("name", CUT)
def test_cut_off_at_many_points(server: Service, portrait: Path, tmp_path: Path, name: str) -> None:
    """What is there is used; where that is nothing, it is said."""
    whole = CUT[name]
    file = tmp_path / "sound"
    taken = []
    for length in [*range(0, 200, 3), *range(200, len(whole), 997)]:
        file.write_bytes(whole[:length])
        try:
            taken.append(load_speech(file, 300).seconds)
        except InvalidAudio:
            assert not taken, "more of a file is never worse"
    assert taken == sorted(taken)
    for length in (1, 20, 43):
        refused(upload(server, portrait, whole[:length]), 400)
    answer = upload(server, portrait, whole[: len(whole) // 2])
    assert answer.status_code == 200, answer.text
    assert server.wait(answer.json()["task_id"])["status"] == "COMPLETED"
