"""Some two hundred recordings as people send them, each compared with FFmpeg's own full decode.

python -m benchmarks.recordings [--url http://127.0.0.1:8000] [--every N] [SPEECH ...]

Needs the program ffmpeg, which makes the files and is the reference. With --url, each file goes to that
server instead: its preflight, the task and the sound of the video are compared with the same reference.
"""

import argparse
import io
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
import requests

from benchmarks.inputs import PORTRAIT, SPEECH
from dice_talk.audio import load_speech
from dice_talk.client import Client
from dice_talk.errors import InvalidAudio

SECONDS = 3.0
LENGTH_S, LEVEL_DB = 0.05, 1.0
"""How far a length and a level may lie from FFmpeg's."""
FPS = 10
"""Frame rate of the videos. Half a frame more or less is within the limit."""


@dataclass(frozen=True)
class Case:
    """A file, and what has to come of it."""

    name: str
    data: bytes
    taken: bool = True
    like: bytes | None = None  # what FFmpeg reads in its place, where it reads noise
    probed_as: str | None = None  # what FFmpeg has to be told, where it does not guess the format


@dataclass(frozen=True)
class Heard:
    """What FFmpeg's full decode holds."""

    seconds: float
    level: float  # RMS of all channels, dBFS


def encode(speech: Path, options: str, suffix: str, seconds: float = SECONDS, start: float = 0) -> bytes:
    """Return speech as ffmpeg writes it, with some options of its command line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sound.{suffix}"
        command = ["ffmpeg", "-v", "error", "-ss", str(start), "-t", str(seconds), "-i", str(speech), *options.split()]
        subprocess.run([*command, str(path)], check=True)
        return path.read_bytes()


def reference(case: Case) -> Heard | None:
    """Decode a file with the program ffmpeg. None if it reads nothing."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as out, tempfile.NamedTemporaryFile() as file:
        file.write(case.like or case.data)
        file.flush()
        told = ["-f", case.probed_as] if case.probed_as else []
        command = ["ffmpeg", "-v", "quiet", "-y", *told, "-i", file.name, "-c:a", "pcm_s16le", "-f", "wav", out.name]
        subprocess.run(command, check=False)
        if not Path(out.name).stat().st_size > 100:
            return None
        with av.open(out.name) as container:
            stream = container.streams.audio[0]
            frames = [frame.to_ndarray().ravel() / 2**15 for frame in container.decode(stream)]
            sound, per_second = np.concatenate(frames), stream.rate * stream.channels
    return Heard(len(sound) / per_second, level(sound))


def level(sound: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(sound, dtype=np.float64)) + 1e-12))


def id3(size: int, footer: bool = False, fill: bytes = b"\0") -> bytes:
    digits = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    tail = b"3DI\x04\0\x10" + digits if footer else b""
    return b"ID3\x04\0" + (b"\x10" if footer else b"\0") + digits + (fill * size)[:size] + tail


def ape(size: int) -> bytes:
    """Return an APE tag with a header and a footer."""
    fields = struct.pack("<IIII", 2000, size + 32, 1, 0xA0000000) + bytes(8)
    item = struct.pack("<II", size - 13, 0) + b"Art\0" + b"x" * (size - 12)
    return (
        b"APETAGEX" + fields + item[:size] + b"APETAGEX" + struct.pack("<IIII", 2000, size + 32, 1, 1 << 31) + bytes(8)
    )


def with_size(wav: bytes, size: int, *, riff: int | None = None) -> bytes:
    """Return a WAV whose header claims another size."""
    at = wav.index(b"data") + 4
    changed = bytearray(wav)
    changed[at : at + 4] = struct.pack("<I", size)
    changed[4:8] = struct.pack("<I", size if riff is None else riff)
    return bytes(changed)


def big(wav: bytes, name: bytes, size: int | None = None) -> bytes:
    """Return a WAV as RF64 or BW64."""
    at = wav.index(b"fmt ")
    data = wav.index(b"data")
    length = len(wav) - data - 8 if size is None else size
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, len(wav) + 28, length, length // 2, 0)
    return name + b"\xff\xff\xff\xffWAVE" + ds64 + wav[at:data] + b"data\xff\xff\xff\xff" + wav[data + 8 :]


def rifx(wav: bytes) -> bytes:
    """Return a 16-bit WAV with the highest byte of each sample first."""
    at, data = wav.index(b"fmt "), wav.index(b"data")
    form = struct.pack(">HHIIHH", *struct.unpack("<HHIIHH", wav[at + 8 : at + 24]))
    sound = np.frombuffer(wav[data + 8 :], "<i2").astype(">i2").tobytes()
    body = b"WAVEfmt " + struct.pack(">I", 16) + form + b"data" + struct.pack(">I", len(sound)) + sound
    return b"RIFX" + struct.pack(">I", len(body)) + body


def wrong_xing(mp3: bytes, frames: int) -> bytes:
    """Return an MP3 whose first frame claims another number of frames."""
    changed = bytearray(mp3)
    at = next(mp3.index(mark) for mark in (b"Xing", b"Info") if mark in mp3)
    changed[at + 8 : at + 12] = struct.pack(">I", frames)
    return bytes(changed)


def mp3s(speech: Path) -> Iterator[Case]:
    plain = "-id3v2_version 0 "
    for rate in (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000):
        for channels in (1, 2):
            for quality in ("-b:a 64k", "-q:a 4"):
                options = f"-ar {rate} -ac {channels} {quality} "
                yield Case(f"MP3 {options}", encode(speech, options, "mp3"))
                yield Case(f"MP3 {options} no Xing", encode(speech, plain + options + "-write_xing 0", "mp3"))
    a = encode(speech, plain, "mp3")
    vbr = encode(speech, plain + "-q:a 4 -write_xing 0", "mp3")
    others = {
        "the same kind": encode(speech, plain, "mp3", start=2),
        "another rate": encode(speech, plain + "-ar 44100", "mp3", start=2),
        "two channels": encode(speech, plain + "-ac 2", "mp3", start=2),
        "both": encode(speech, plain + "-ac 2 -ar 16000 -q:a 4", "mp3", start=2),
        "a tag between": encode(speech, "", "mp3", start=2),
    }
    for name, b in others.items():
        yield Case(f"MP3 joined with {name}", a + b)
        yield Case(f"MP3 joined to {name}", b + a)
        yield Case(f"MP3 without Xing joined with {name}", vbr + b)
        yield Case(f"three MP3s joined, {name}", a + b + a)
    for frames in (0, 1, 10, 100_000, 2**32 - 1):
        yield Case(f"MP3 that claims {frames} frames", wrong_xing(a, frames))
    for share in (0.05, 0.3, 0.5, 0.9, 0.999):
        yield Case(f"MP3 of which {share:.1%} arrived", a[: int(len(a) * share)])
        yield Case(f"VBR MP3 of which {share:.1%} arrived", vbr[: int(len(vbr) * share)])
    before = {
        "a zero": b"\0",
        "4 kB of zeros": bytes(4096),
        "300 kB of zeros": bytes(300_000),
        "ID3": id3(1000),
        "ID3 with a footer": id3(1000, footer=True),
        "ID3 with 100 kB of padding": id3(100_000),
        "three tags": id3(50) + id3(5000, footer=True) + id3(17),
        "zeros between tags": id3(50) + bytes(999) + id3(5000) + bytes(3),
        "ID3 that is longer than it says": id3(1000) + bytes([65]) * 500,
        "ID3 whose size is absurd": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + b"TIT2",
        "APE": ape(500),
        "APE and ID3": ape(5000) + id3(700),
        "ID3 and APE": id3(700) + ape(100_000),
        "ID3v1": b"TAG" + b"x" * 125,
        "half a frame": a[-300:],
        "a line of text": b"--boundary\r\nContent-Type: audio/mpeg\r\n\r\n",
        "noise": np.random.default_rng(0).integers(0, 250, 3000, np.uint8).tobytes(),
    }
    for name, junk in before.items():
        yield Case(f"{name} before an MP3", junk + a, probed_as="mp3")
    after = {
        "ID3v1": b"TAG" + b"x" * 125,
        "APE": ape(3000),
        "ID3 with a footer": id3(100, footer=True),
        "zeros": bytes(100_000),
        "HTML": b"<html>" * 1000,
        "noise": np.random.default_rng(1).integers(0, 256, 30_000, np.uint8).tobytes(),
        "a Lyrics3 tag": b"LYRICSBEGIN" + b"la " * 300 + b"000911LYRICS200",
        "a picture": PORTRAIT.read_bytes(),
    }
    for name, junk in after.items():
        yield Case(f"{name} after an MP3", a + junk)


def wavs(speech: Path) -> Iterator[Case]:
    exact = "-bitexact "
    for codec in ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"):
        for shape in ("-ar 8000 -ac 1", "-ar 44100 -ac 2", "-ar 96000 -ac 1", "-ac 6"):
            yield Case(f"WAV {codec} {shape}", encode(speech, f"{exact}-c:a {codec} {shape}", "wav"))
    for codec in ("adpcm_ms", "adpcm_ima_wav", "libmp3lame"):
        for channels in (1, 2):
            yield Case(f"WAV {codec} {channels}", encode(speech, f"{exact}-c:a {codec} -ac {channels}", "wav"))
    for name, tags in (("mono", ""), ("stereo", "-ac 2 -ar 44100"), ("24 bit", "-c:a pcm_s24le")):
        wav = encode(speech, exact + tags, "wav")
        for size in (0, 1, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF, len(wav) + 1000):
            if size != 1:
                yield Case(f"WAV {name} that claims {size} bytes", with_size(wav, size))
        yield Case(f"WAV {name}, RIFF size 0", with_size(wav, len(wav) - 44, riff=0))
        yield Case(f"RF64 {name}", big(wav, b"RF64"))
        yield Case(f"BW64 {name}", big(wav, b"BW64"))
        yield Case(f"RF64 {name} that claims too much", big(wav, b"RF64", 1 << 40))
        yield Case(f"RF64 {name} that claims nothing", big(wav, b"RF64", 0))
        for share in (0.1, 0.5, 0.99):
            yield Case(f"WAV {name} of which {share:.0%} arrived", wav[: int(len(wav) * share)])
        yield Case(f"WAV {name} with a chunk behind", wav + b"LIST" + struct.pack("<I", 1000) + bytes(1000))
        yield Case(f"WAV {name} with noise behind", wav + b"<html>" * 500)
        yield Case(f"WAV {name} twice", wav + wav)
        yield Case(f"WAV {name} of size 0, twice", with_size(wav, 0) + wav)
        if name != "24 bit":
            yield Case(f"RIFX {name}", rifx(wav), like=wav)
    yield Case("WAV with a chunk before", encode(speech, "-metadata title=Speech", "wav"))
    for name, pan in {
        "antiphase": "stereo|c0=c0|c1=-1*c0",
        "left alone": "stereo|c0=c0",
        "right alone": "stereo|c1=c0",
        "the centre of 5.1": "5.1|FC=c0",
        "the left surround of 5.1": "5.1|BL=c0",
        "the centre of 7.1": "7.1|FC=c0",
        "all of quad": "quad|FL=c0|FR=c0|BL=c0|BR=c0",
    }.items():
        yield Case(f"WAV with speech in {name}", encode(speech, f"-af pan={pan}", "wav"))


def refused(speech: Path) -> Iterator[Case]:
    for codec in ("aac", "mp2", "adpcm_g726 -ar 8000 -b:a 32k", "wmav2", "ac3", "flac -strict -2"):
        yield Case(f"WAV with {codec}", encode(speech, f"-c:a {codec}", "wav"), taken=False)
    kinds = """webm -c:a libopus|m4a -c:a aac|mp4 -c:a aac|mov -c:a pcm_s16le|flac|ogg -c:a libvorbis|opus -c:a libopus
        spx -c:a libspeex -ar 16000|aiff|caf -c:a pcm_s16le|wma -c:a wmav2|mp2 -c:a mp2|aac -c:a aac|ac3 -c:a ac3|au|w64
        mka -c:a libvorbis|avi -c:a mp3|wv -c:a wavpack|tta -c:a tta|ts -c:a aac|flv -c:a mp3 -ar 22050|voc -c:a pcm_u8
        dts -c:a dca -strict -2 -ar 48000|eac3 -c:a eac3 -ar 48000|3gp -c:a aac|rm -c:a ac3 -ar 44100"""
    for kind in kinds.replace("\n", "|").split("|"):
        suffix, _, options = kind.strip().partition(" ")
        yield Case(suffix, encode(speech, options, suffix), taken=False)
    others = {
        "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
        "JSON": b'{"error": "quota"}',
        "text": "Gr\u00fc\u00dfe".encode(),
        "a picture": PORTRAIT.read_bytes(),
        "nothing": b"",
        "zeros": bytes(5000),
        "a ZIP": b"PK\x03\x04" + bytes(99),
        "a PDF": b"%PDF-1.7\n" + bytes(99),
        "AMR": b"#!AMR\n" + bytes(99),
        "MIDI": b"MThd\0\0\0\6" + bytes(99),
        "noise": np.random.default_rng(2).integers(0, 256, 90_000, np.uint8).tobytes(),
        "a tag": id3(5000),
        "a WAV without samples": encode(speech, "-bitexact", "wav")[:44],
        "the start of a WAV": b"RIFF\0\0\0\0WAVEfmt ",
    }
    for name, data in others.items():
        yield Case(name, data, taken=False)


class Tally:
    """What came out, and how far it was from the reference at worst."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.worst = {"length": (0.0, ""), "level": (0.0, "")}

    def note(self, what: str, error: float, name: str) -> None:
        self.worst[what] = max(self.worst[what], (error, name))


def try_reading(case: Case, tally: Tally) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(case.data)
        file.flush()
        tally.counts["tried"] += 1
        try:
            speech = load_speech(Path(file.name), 300)
        except InvalidAudio as error:
            tally.counts["refused"] += 1
            if case.taken:
                print(f"WRONGLY refused: {case.name}: {error} {error.detail}")
            return
    tally.counts["accepted"] += 1
    if not case.taken:
        print(f"WRONGLY accepted: {case.name}")
        return
    right = reference(case)
    if right is None:
        print(f"FFmpeg reads nothing, here it is {speech.seconds:.3f} s: {case.name}")
        return
    length, loud = abs(speech.seconds - right.seconds), abs(level(speech.original) - right.level)
    tally.note("length", length, case.name)
    tally.note("level", loud, case.name)
    if length > LENGTH_S or loud > LEVEL_DB:
        print(f"FAR: {case.name}: {speech.seconds:.3f} s, not {right.seconds:.3f}; {loud:.2f} dB apart")


def try_sending(case: Case, url: str, tally: Tally) -> None:
    tally.counts["tried"] += 1
    files = {"image": ("a.jpg", PORTRAIT.read_bytes()), "audio": ("a.wav", case.data)}
    before = requests.post(f"{url}/api/v1/preflight", files={"audio": files["audio"]}, timeout=60)
    options = {"emotion": "happy", "min_resolution": "128", "fps": str(FPS), "seed": "1"}
    answer = requests.post(f"{url}/api/v1/synthesis/start", files=files, data=options, timeout=60)
    if answer.status_code != 200:
        tally.counts["refused" if answer.status_code == before.status_code == 400 else "crashed"] += 1
        if case.taken or answer.status_code != 400 or not answer.json().get("detail"):
            print(f"WRONG: {case.name}: {answer.status_code} {answer.text}")
        return
    with Client(url) as client:
        while (state := client.status(answer.json()["task_id"])).status in ("PENDING", "PROCESSING"):
            time.sleep(0.2)
    if state.status != "COMPLETED":
        tally.counts["crashed"] += 1
        print(f"FAILED: {case.name}: {state.message}")
        return
    tally.counts["accepted"] += 1
    right = reference(case)
    if right is None:
        return
    video = requests.get(f"{url}/api/v1/synthesis/{answer.json()['task_id']}/download", timeout=60).content
    said = before.json()["audio"]["seconds"]
    with av.open(io.BytesIO(video), "r") as container:
        stream = container.streams.audio[0]
        lengths = said, (container.duration or 0) / 1e6, float((stream.duration or 0) * (stream.time_base or 0))
        loud = level(np.concatenate([f.to_ndarray().ravel() for f in container.decode(stream)]))
    length = max(abs(found - right.seconds) for found in lengths)
    tally.note("length", length, case.name)
    if not case.name.endswith(("-ac 6", "5.1", "7.1", "quad")):  # mixed down
        tally.note("level", abs(loud - right.level), case.name)
    if length > LENGTH_S or abs(loud - right.level) > LEVEL_DB:
        print(f"FAR: {case.name}: {lengths}, not {right.seconds:.3f}; {loud - right.level:.2f} dB apart")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("speech", nargs="*", type=Path, default=[SPEECH])
    parser.add_argument("--url")
    parser.add_argument("--every", type=int, default=1, help="only every Nth file")
    given = parser.parse_args()
    tally = Tally()
    every = (case for speech in given.speech for make in (mp3s, wavs, refused) for case in make(speech))
    try:
        for case in islice(every, 0, None, given.every):
            if given.url:
                try_sending(case, given.url, tally)
            else:
                try_reading(case, tally)
    finally:  # also when it was interrupted
        print(dict(tally.counts), tally.worst)


if __name__ == "__main__":
    main()
