"""Some hundreds of altered portraits through one engine: PORTRAITS=1000 walks more, SEED=7 others, and FACES=FOLDER
takes the pictures in a folder besides the example.
"""

import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from dice_talk.engine import Progress, RenderJob
from dice_talk.errors import DiceTalkError
from dice_talk.lite.engine import LiteEngine
from dice_talk.options import RenderOptions
from dice_talk.video import verify
from tests.lite.altered import cases, side_by_side

PORTRAITS = int(os.environ.get("PORTRAITS", "200"))


SEED = int(os.environ.get("SEED", "1"))


SHORTEST = {"seed": 1, "duration": 0.1, "fps": 10}


def nothing(progress: Progress) -> None:
    pass


def faces(portrait: Path) -> dict[str, Image.Image]:
    """The example whole, close up and twice; and what lies in the folder FACES."""
    whole = Image.open(portrait).convert("RGB")
    whole.thumbnail((320, 320))
    width, height = whole.size
    close = whole.crop((width // 5, height // 10, width - width // 5, height - height // 4))
    found = {"whole": whole, "close": close, "pair": side_by_side(whole)}
    folder = os.environ.get("FACES")
    for file in sorted(Path(folder).iterdir()) if folder else ():
        found[file.name] = Image.open(file).convert("RGB")
        found[file.name].thumbnail((600, 600))
    return found


@pytest.mark.timeout(60 + 5 * PORTRAITS)
def test_an_altered_portrait_gives_a_video_or_is_refused(engine: LiteEngine, portrait: Path, tmp_path: Path) -> None:
    ends, video, speech = Counter[str](), tmp_path / "video.mp4", portrait.parent / "speech.wav"
    for case in cases(faces(portrait), PORTRAITS, SEED):
        file = tmp_path / "picture.png"
        case.picture.save(file, compress_level=1)
        job = RenderJob(file, speech, video, RenderOptions(**SHORTEST, **case.options))
        try:
            verify(video, engine.render(job, nothing))
            ends["video"] += 1
        except DiceTalkError as error:
            assert error.detail, case.name
            ends["refused"] += 1
        except Exception as error:  # noqa: BLE001 - this is what must not be
            case.picture.save(tmp_path / "crash.png")
            pytest.fail(f"{case.name}, {case.options}: {error!r}; the picture is {tmp_path}/crash.png")
    print(dict(ends))  # noqa: T201 - a count for the reader of the log
    assert ends["video"] > PORTRAITS // 3
    assert ends["refused"] > PORTRAITS // 50, "some of them show no face any more"
