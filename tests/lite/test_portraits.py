"""Some hundreds of altered portraits through one engine: PORTRAITS=1000 walks more, SEED=7 others, and FACES=FOLDER
takes the pictures in a folder besides the example.
"""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dice_talk.engine import Progress, RenderJob
from dice_talk.errors import DiceTalkError, InvalidOptions
from dice_talk.face import Box, iou
from dice_talk.image import load_portrait
from dice_talk.lite.engine import LiteEngine, prepare
from dice_talk.lite.models import find_face
from dice_talk.lite.person import find_person, head_of
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


@pytest.fixture
def far_away(portrait: Path, tmp_path: Path) -> Path:
    """The example, small at the bottom right of a white canvas, where the mask of the whole picture misses it."""
    picture = Image.open(portrait).convert("RGB")
    picture.thumbnail((200, 200))
    canvas = Image.new("RGB", (900, 900), "white")
    canvas.paste(picture, (900 - picture.width, 900 - picture.height))
    canvas.save(tmp_path / "far.png")
    return tmp_path / "far.png"


def test_the_head_is_found_where_the_mask_of_the_whole_picture_misses_it(engine: LiteEngine, far_away: Path) -> None:
    picture = load_portrait(far_away)
    points = find_face(engine.models, picture, 0).points
    mask = find_person(engine.models, picture, points)
    x, y = points[[10, 152, 1, 50, 280], :2].round().astype(int).T
    assert (mask[y, x] > 0.5).all()
    assert (mask[:450, :450] < 0.5).all()


def test_a_head_by_its_landmarks_holds_hair_and_neck(engine: LiteEngine, portrait: Path) -> None:
    picture = load_portrait(portrait)
    points = find_face(engine.models, picture, 0).points
    head, top, chin = head_of(picture, points), points[10, :2], points[152, :2]
    for share in (-0.2, 0.0, 0.5, 1.0, 1.3):
        x, y = (top + share * (chin - top)).round().astype(int)
        assert head[y, x] == 1
    assert 1.5 < head.sum() / np.prod(np.ptp(points[:, :2], axis=0)) < 3


def test_a_face_that_two_boxes_show_is_one_face_and_moves(engine: LiteEngine, portrait: Path) -> None:
    """A detector may give the same face twice, or a box around several people."""
    picture = load_portrait(portrait)
    found = find_face(engine.models, picture, 0)
    middle, (height, width) = found.box.middle, picture.shape[:2]
    small = Box(middle[0] - 20, middle[1] - 20, middle[0] + 20, middle[1] + 20)
    around = Box(0, 0, width, height)
    seeing = replace(engine.models, detector=lambda _: [around, found.box, small])
    again = find_face(seeing, picture, 0)
    assert again.others == []
    assert iou(again.box, found.box) > 0.5
    with pytest.raises(InvalidOptions, match="1 face can be used"):
        find_face(seeing, picture, 1)


def test_a_large_neighbour_does_not_hold_a_face_still(engine: LiteEngine, portrait: Path) -> None:
    options = RenderOptions(emotion="happy", min_resolution=128)
    picture = load_portrait(portrait)
    face = find_face(engine.models, picture, 0).box
    large = Box(face.right + 5, face.top - face.height, face.right + 5 + 3 * face.width, face.top + 2 * face.height)
    beside = replace(engine.models, detector=lambda _: [large, face])
    rig = prepare(beside, portrait, options)
    assert rig.moving.size > 1
    assert np.abs(rig.skin).max() > 0.1 * np.abs(prepare(engine.models, portrait, options).skin).max()
