"""Which files the engine needs, where they come from, and what a folder's weights are. Runs without torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from dice_talk.diffusion.checksums import checksums
from dice_talk.emotions import Emotion

DICE_TALK, SVD, WHISPER = "DICE-Talk", "stable-video-diffusion-img2vid-xt", "whisper-tiny"
UNET = f"{DICE_TALK}/unet.pth"
POSE_GUIDER = f"{DICE_TALK}/pose_guider.pth"
AUDIO_LINEAR = f"{DICE_TALK}/audio_linear.pth"
EMO_MODEL = f"{DICE_TALK}/emo_model.pth"
UNET_CONFIG = f"{SVD}/unet/config.json"
VAE_CONFIG = f"{SVD}/vae/config.json"
VAE = f"{SVD}/vae/diffusion_pytorch_model.fp16.safetensors"
IMAGE_ENCODER_CONFIG = f"{SVD}/image_encoder/config.json"
IMAGE_ENCODER = f"{SVD}/image_encoder/model.fp16.safetensors"
WHISPER_CONFIG = f"{WHISPER}/config.json"
WHISPER_ENCODER = f"{WHISPER}/model.safetensors"
FLOWNET = "RIFE/flownet.pkl"
YOLOFACE = "yoloface_v5m.pt"
INSIGHTFACE = "insightface"
"""An optional folder: `insightface/models/NAME/*.onnx`."""

PUBLISHED, UNVERIFIED = "published", "unverified weights"
_LABEL_FILE = "weights.json"


@dataclass(frozen=True)
class Source:
    """A file to download. `path`: below the checkpoints folder; `repo` and `name`: on the hub."""

    path: str
    repo: str
    name: str
    licence: str


DICE_LICENCE = "CC BY-NC-SA 4.0: not for commercial use"
_SVD_LICENCE = "Stability AI Community Licence"


def _dice(path: str) -> Source:
    return Source(path, "EEEELY/DICE-Talk", path, DICE_LICENCE)


def _svd(path: str) -> Source:
    return Source(path, "stabilityai/stable-video-diffusion-img2vid-xt", path.removeprefix(f"{SVD}/"), _SVD_LICENCE)


def _whisper(path: str) -> Source:
    return Source(path, "openai/whisper-tiny", path.removeprefix(f"{WHISPER}/"), "Apache-2.0")


HUB_FILES = (
    _dice(UNET),
    _dice(POSE_GUIDER),
    _dice(AUDIO_LINEAR),
    _dice(EMO_MODEL),
    _dice(FLOWNET),
    _dice(YOLOFACE),
    _svd(UNET_CONFIG),
    _svd(VAE_CONFIG),
    _svd(VAE),
    _svd(IMAGE_ENCODER_CONFIG),
    _svd(IMAGE_ENCODER),
    _whisper(WHISPER_CONFIG),
    _whisper(WHISPER_ENCODER),
)
"""SVD's own UNet weights are not included: `unet.pth` holds the whole UNet."""
REPOSITORIES = tuple(dict.fromkeys(source.repo for source in HUB_FILES))
OPTIONAL_FILES = (YOLOFACE,)
"""Without the published face detector, another one is used."""


def prior_path(emotion: Emotion) -> str:
    """Return the path of an emotion's prior below the checkpoints folder."""
    return f"emo/{emotion.value}.npy"


PRIORS = tuple(prior_path(emotion) for emotion in Emotion)
NEEDED_FILES = (*(source.path for source in HUB_FILES if source.path not in OPTIONAL_FILES), *PRIORS)


def weights_label(checkpoints: Path) -> str:
    """Return what the weights in a folder are: "published", or that they are tiny, random or unknown.

    The folder's `weights.json` decides, which `make-tiny-checkpoints` writes. Without it, the weights are published if
    `download` fetched them and the sizes match (`doctor` compares checksums too). Never raises.
    """
    try:
        label = checkpoints / _LABEL_FILE
        if label.exists():
            return _label_in(label.read_text())
        noted = checksums(checkpoints)
        fetched = all((checkpoints / path).stat().st_size == noted[path].size for path in NEEDED_FILES)
    except (OSError, ValueError, LookupError, RecursionError):
        return UNVERIFIED
    return PUBLISHED if fetched else UNVERIFIED


def _label_in(text: str) -> str:
    """Return the label in a `weights.json` of any content."""
    noted = json.loads(text)
    label = noted.get("label") if isinstance(noted, dict) else None
    return label if isinstance(label, str) and label else UNVERIFIED


def write_label(checkpoints: Path, label: str) -> None:
    """Label the weights in a folder as something other than the published ones."""
    (checkpoints / _LABEL_FILE).write_text(json.dumps({"label": label}) + "\n")
