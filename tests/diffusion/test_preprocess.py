"""Picture and speech against the published preparation."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import NO_TORCH

torch = pytest.importorskip("torch", reason=NO_TORCH)

from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dice_talk.audio import Samples
from dice_talk.diffusion import preprocess
from dice_talk.diffusion.checkpoints import load_strictly
from dice_talk.diffusion.preprocess import encode_speech, model_frames, prepare_picture
from dice_talk.errors import InvalidOptions
from dice_talk.face import Box, crop_square, output_size
from dice_talk.image import Pixels
from tests.diffusion.cases import Case, deviation

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("inference")]
Read = Callable[[str], Case]


def synthetic_image(w: int, h: int, k: int) -> Pixels:
    """The image that the sidecar's `image_formula` describes."""
    y, x = np.mgrid[:h, :w]
    channels = []
    for c in range(3):
        a = (x * (3 + c) + y * (5 - c) + 40 * c + 17 * k) % 512
        b = ((x // 16 + y // 16 + c + k) % 2) * 60
        channels.append(np.clip(np.where(a <= 255, a, 511 - a) * 3 // 4 + b, 0, 255))
    return np.stack(channels, -1).astype(np.uint8)


def synthetic_audio(n: int, k: int) -> Samples:
    """The sound that the sidecar's `audio_formula` describes."""
    t = np.arange(n) / 16000
    s = 0.35 * np.sin(2 * np.pi * (220 + 30 * k) * t)
    s += 0.25 * np.sin(2 * np.pi * (90 + 400 * t * (1 + 0.1 * k)) * t) * (0.5 + 0.5 * np.sin(2 * np.pi * 1.7 * t))
    return (np.round(np.clip(s, -1, 1) * 32767) / 32768).astype(np.float32)


def digest(image: Any) -> str:
    """Return the SHA-256 of a tensor (1, 3, H, W) in [0, 1], as 8-bit numbers."""
    return hashlib.sha256((image[0] * 255).round().to(torch.uint8).numpy().tobytes()).hexdigest()


def test_crop(case: Read) -> None:
    for given in case("preprocess").about["data"]["process_bbox"]:
        found = crop_square(Box(*given["bbox"]), given["expand"], given["width"], given["height"])
        assert list(found) == given["out"]


def test_output_size(case: Read) -> None:
    for given in case("preprocess").about["data"]["resize_table"]:
        wanted = given["new_w"], given["new_h"]
        if max(wanted) > 4096:  # the published code has no limit
            with pytest.raises(InvalidOptions):
                output_size(given["w"], given["h"], given["image_size"])
        else:
            assert output_size(given["w"], given["h"], given["image_size"]) == wanted


def test_picture(case: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    given = case("preprocess")
    for number, shown in enumerate(given.about["data"]["image_geometry"]):
        monkeypatch.setattr(preprocess, "MASK_AREA", shown["area"])
        left, top, width, height = shown["box_xywh"]
        face = Box(left, top, left + width, top + height)
        found = prepare_picture(synthetic_image(**shown["image"]), face, shown["image_size"])
        assert found.mask.shape[1:] == tuple(shown["face_mask_shape"])
        assert digest(found.mask) == shown["mask_sha256_u8_chw"]
        assert digest((found.reference + 1) / 2) == shown["ref_sha256_u8_chw"]
        for place, value in shown["clip_points"]:
            assert float(found.clip[0][tuple(place)]) == pytest.approx(value, abs=1e-6)
        if f"out.clip_{number}" in given.tensors:
            assert deviation(found.clip[0], given[f"out.clip_{number}"]) < 1e-6


def test_mel(case: Read) -> None:
    given = case("preprocess")
    extract = WhisperFeatureExtractor()
    recordings = {recording["samples"]: recording["k"] for recording in given.about["data"]["audio"]}
    for name, wanted in given.tensors.items():
        if name.startswith("out.logmel_"):
            samples, shown = (int(part) for part in name.removeprefix("out.logmel_").split("_first"))
            recording = synthetic_audio(samples, recordings[samples])
            mel = extract(recording, sampling_rate=16000, return_tensors="pt").input_features[0]
            assert deviation(mel[:, :shown], wanted) < 1e-4


def test_frames_of_a_recording(case: Read) -> None:
    for given in case("preprocess").about["data"]["audio"]:
        assert model_frames(given["samples"]) == given["model_frames"]


def test_what_frames_hear(case: Read) -> None:
    given = case("audio_windows")
    encoder = load_strictly(WhisperEncoder(WhisperConfig(**given.about["config"])), given.weights("encoder"), "whisper")
    for name, recording in given.about["data"].items():
        if f"out.{name}.windows" in given.tensors:
            found = encode_speech(
                encoder,
                WhisperFeatureExtractor(),
                synthetic_audio(recording["samples"], recording["k"]),
                lambda share: None,
            )
            assert len(found) >= recording["model_frames"]
            assert deviation(found[recording["window_indices"]], given[f"out.{name}.windows"]) < 1e-5
