"""Real files with random damage. MUTATIONS=100000 runs so many in place of 2000; SEED=n others."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT, Service
from tests.hostile.conftest import refused
from tests.hostile.samples import chunk, encode, exif, pictures, recordings, with_chunks

MUTATIONS = int(os.environ.get("MUTATIONS", "2000"))
SEED = int(os.environ.get("SEED", "1"))
OVER_HTTP = 24
CASE_SECONDS = 10
NUMBERS = [b"\0", b"\1", b"\xff", b"\0\0", b"\xff\xff", bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, set to extreme numbers, taken away or repeated: mostly near the start, where headers are."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8, 32))):
        place = rng.randrange(min(len(damaged), rng.choice((64, 512, len(damaged)))))
        length = rng.choice((1, 2, 4, 16, 200))
        match rng.randrange(6):
            case 0:
                damaged[place] = rng.randrange(256)
            case 1:
                damaged[place] ^= 1 << rng.randrange(8)
            case 2:
                number = rng.choice(NUMBERS)
                damaged[place : place + len(number)] = number
            case 3:
                del damaged[place : place + length]
            case 4:
                damaged[place:place] = damaged[place : place + length]
            case _:
                other = rng.randrange(len(damaged))
                damaged[place : place + length] = damaged[other : other + length]
        damaged = damaged or bytearray(b"\0")
    return bytes(damaged)


def samples(portrait: Path) -> list[tuple[str, bytes]]:
    face = Image.open(portrait).resize((96, 96))
    faces = [
        encode(face, "JPEG", exif=exif(), quality=80),
        encode(face, "JPEG", progressive=True),
        with_chunks(chunk(b"eXIf", exif().tobytes()), encode(face, "PNG")),
    ]
    images = [("image", data) for data in (*faces, *pictures().values())]
    return images + [("audio", data) for data in recordings().values()]


DECODER = f"""
import json, signal, sys
from pathlib import Path
from dice_talk.audio import load_speech
from dice_talk.errors import DiceTalkError
from dice_talk.image import load_portrait
from dice_talk.child import MEMORY_BYTES, limit
import resource
limit(resource.RLIMIT_AS, MEMORY_BYTES)
for line in sys.stdin:
    kind, path = json.loads(line)
    signal.alarm({CASE_SECONDS})
    try:
        load_portrait(Path(path)) if kind == "image" else load_speech(Path(path), 300)
        outcome = "taken"
    except (DiceTalkError, MemoryError):
        outcome = "refused"
    signal.alarm(0)
    print(outcome, flush=True)
"""


def test_decoders_take_or_refuse_whatever_it_is(tmp_path: Path, portrait: Path) -> None:
    """For speed in one child process under the inspection's limit on memory; what ends it is the last file written."""
    rng, originals, outcomes = random.Random(SEED), samples(portrait), {"taken": 0, "refused": 0}
    file = tmp_path / "damaged"
    command = [sys.executable, "-W", "ignore", "-c", DECODER]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdin
        assert child.stdout
        for number in range(MUTATIONS):
            kind, data = rng.choice(originals)
            file.write_bytes(mutate(data, rng))
            child.stdin.write(json.dumps([kind, str(file)]) + "\n")
            child.stdin.flush()
            outcome = child.stdout.readline().strip()
            assert outcome, f"mutation {number} of seed {SEED}: {kind}, code {child.wait()}; the file is {file}"
            outcomes[outcome] += 1
    sys.stdout.write(f"{MUTATIONS} mutations of {len(originals)} files: {outcomes}\n")
    assert min(outcomes.values()) > MUTATIONS // 20, "neither all good nor all broken at once"


@pytest.mark.usefixtures("honest_at_the_end")
@pytest.mark.parametrize("number", range(OVER_HTTP))
def test_the_service_takes_or_refuses_it(server: Service, portrait: Path, speech: Path, number: int) -> None:
    rng = random.Random(SEED * 1_000_000 + number)
    kind, data = rng.choice(samples(portrait))
    damaged = mutate(data, rng)
    answer = server.start(damaged, speech) if kind == "image" else server.start(portrait, damaged)
    if answer.status_code != 200:
        refused(answer, 400)
        return
    state = server.wait(answer.json()["task_id"])
    assert state["status"] == "COMPLETED" or state["message"], state
    assert state["attempts"] == 1
