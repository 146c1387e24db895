from pathlib import Path

import numpy as np
import pytest

from dice_talk.audio import load_speech
from dice_talk.image import load_portrait
from dice_talk.measure import MAX_LAG, correlation, eye_openness, landmarks, loudness_per_frame, measure, read_sound
from dice_talk.video import VideoWriter, poster

FPS = 25


def make_video(path: Path, speech: Path, picture: np.ndarray, frames: int) -> Path:
    sound = load_speech(speech, 300)
    height, width = picture.shape[:2]
    with VideoWriter(
        path, width=width, height=height, fps=FPS, frames=frames, sound=sound.stereo, rate=sound.rate, metadata={}
    ) as writer:
        for number in range(frames):
            writer.write(picture if number < frames // 2 else np.zeros_like(picture))
    return path


@pytest.mark.parametrize("lag", [-3, 0, 4])
def test_a_lag_is_found(speech: Path, lag: int) -> None:
    loudness = loudness_per_frame(load_speech(speech, 8).samples, FPS, 200)
    r, found = correlation(np.roll(loudness, lag)[20:180], loudness[20:180])
    assert found == lag and r > 0.95


def test_the_sound_of_a_video_is_where_it_was(tmp_path: Path, speech: Path) -> None:
    video = make_video(tmp_path / "video.mp4", speech, np.zeros((64, 64, 3), np.uint8), 100)
    heard, said = read_sound(video, 4), load_speech(speech, 4).samples
    assert len(heard) == len(said) == 4 * 16000
    assert np.corrcoef(heard, said)[0, 1] > 0.99


def test_a_face_that_is_shown_half_the_time(tmp_path: Path, speech: Path, portrait: Path) -> None:
    picture = load_portrait(portrait)
    video = make_video(tmp_path / "video.mp4", speech, picture, 60)
    found = measure(video, picture, 0, tmp_path)
    assert (found.frames, found.face_found_share, found.identity_similarity) == (60, 0.5, None)
    assert found.why_not[-1] == "Identity can't be compared: this server has no insightface models"


def test_what_can_not_be_measured_says_why(tmp_path: Path, speech: Path) -> None:
    nobody = np.zeros((64, 64, 3), np.uint8)
    short = measure(make_video(tmp_path / "short.mp4", speech, nobody, 2 * MAX_LAG), nobody, 0, tmp_path)
    empty = measure(make_video(tmp_path / "empty.mp4", speech, nobody, 60), nobody, 0, tmp_path)
    assert (short.lip_lag_frames, short.lip_correlation) == (empty.lip_lag_frames, empty.lip_correlation) == (None,) * 2
    assert short.why_not[0] == "Lips and sound can't be compared in 24 frames"
    assert "no face was found" in empty.why_not[0]


def test_eyes_of_a_portrait_are_open(portrait: Path) -> None:
    points = landmarks(load_portrait(portrait))
    assert 0.25 < eye_openness(points) < 0.5
    assert eye_openness(np.stack([points, points])).shape == (2,)


def test_the_poster_is_the_middle(tmp_path: Path, speech: Path) -> None:
    white = np.full((64, 128, 3), 255, np.uint8)
    video = make_video(tmp_path / "video.mp4", speech, white, 600)  # longer than from one key frame to the next
    (tmp_path / "poster.jpg").write_bytes(poster(video))
    picture = load_portrait(tmp_path / "poster.jpg")
    assert picture.shape == (64, 128, 3)
    assert picture.max() < 20
    assert poster(make_video(tmp_path / "one.mp4", speech, white, 1))
