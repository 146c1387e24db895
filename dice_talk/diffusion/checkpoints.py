"""Loads the published checkpoints: strictly, without running pickles, each weight once.

Sizes follow from the files themselves, so tiny weights in the same layout are loaded by the same code.
"""

import json
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dice_talk.diffusion import files, rife
from dice_talk.diffusion.layers import EmotionModel, PoseGuider, TokenProjector
from dice_talk.diffusion.priors import read_prior
from dice_talk.diffusion.unet import DiceTalkUNet, build_unet
from dice_talk.emotions import Emotion
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable

State = Mapping[str, Tensor]
Config = dict[str, Any]
Module = TypeVar("Module", bound=nn.Module)
_NAMED_IN_ERRORS = 8
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """All networks, on one device. All renders share them, and nothing changes after loading.

    UNet, image encoder, conditioning networks and the VAE's decoder are in `dtype`. The VAE's encoder, Whisper and
    IFNet are in float32, because half precision would be visible.
    """

    unet: DiceTalkUNet
    vae: AutoencoderKLTemporalDecoder
    image_encoder: CLIPVisionModelWithProjection
    whisper: WhisperEncoder
    mel: WhisperFeatureExtractor
    audio_linear: TokenProjector
    emo_model: EmotionModel
    pose_guider: PoseGuider
    ifnet: rife.IFNet
    priors: Mapping[Emotion, Tensor]
    device: torch.device
    dtype: torch.dtype


def load_models(checkpoints: Path, device: torch.device, dtype: torch.dtype) -> Models:
    """Read every checkpoint. Raises `EngineUnavailable`, which names the file and the wrong keys."""
    read = _readers(checkpoints)
    autoencoder = read["vae"]()
    autoencoder.decoder.to(device, dtype)
    autoencoder.encoder.to(device, torch.float32)
    autoencoder.quant_conv.to(device, torch.float32)
    return Models(
        unet=nn.Module.to(read["unet"](), device, dtype),  # diffusers' own `to` warns
        vae=autoencoder,
        image_encoder=read["image_encoder"]().to(device, dtype),
        whisper=read["whisper"]().to(device, torch.float32),
        mel=WhisperFeatureExtractor(),
        audio_linear=read["audio_linear"]().to(device, dtype),
        emo_model=read["emo_model"]().to(device, dtype),
        pose_guider=read["pose_guider"]().to(device, dtype),
        ifnet=read["ifnet"]().to(device, torch.float32),
        priors={emotion: torch.from_numpy(read[emotion.value]()) for emotion in Emotion},
        device=device,
        dtype=dtype,
    )


def check(checkpoints: Path) -> list[EngineUnavailable]:
    """Return everything that is wrong with the files that exist."""
    errors = []
    for read in _readers(checkpoints).values():
        try:
            read()
        except EngineUnavailable as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                errors.append(error)
    return errors


def _readers(checkpoints: Path) -> dict[str, Callable[[], Any]]:
    """Return the reader of each network and of each emotion's prior."""

    def config(name: str) -> Config:
        return _config(checkpoints / name)

    def state(name: str) -> State:
        return _state(checkpoints / name)

    return {
        "unet": lambda: unet(config(files.UNET_CONFIG), state(files.UNET)),
        "vae": lambda: vae(config(files.VAE_CONFIG), state(files.VAE)),
        "image_encoder": lambda: image_encoder(config(files.IMAGE_ENCODER_CONFIG), state(files.IMAGE_ENCODER)),
        "whisper": lambda: whisper(config(files.WHISPER_CONFIG), state(files.WHISPER_ENCODER)),
        "audio_linear": lambda: audio_linear(state(files.AUDIO_LINEAR)),
        "emo_model": lambda: emo_model(state(files.EMO_MODEL)),
        "pose_guider": lambda: pose_guider(state(files.POSE_GUIDER)),
        "ifnet": lambda: ifnet(state(files.FLOWNET)),
        **{e.value: partial(read_prior, checkpoints / files.prior_path(e)) for e in Emotion},
    }


def load_strictly(module: Module, state: State, source: str, unused: tuple[str, ...] = ()) -> Module:
    """Return `module` with the weights `state`, ready for inference.

    Keys that begin with one of `unused` are expected but not needed; they are logged. Any other missing or unexpected
    key, and any wrong shape, raises `EngineUnavailable`.
    """
    idle = {key for key in state if key.startswith(unused)} if unused else set()
    wanted = module.state_dict()
    faults = {
        "missing": sorted(wanted.keys() - state.keys()),
        "unexpected": sorted(state.keys() - wanted.keys() - idle),
        "of another shape": sorted(k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape),
    }
    if any(faults.values()):
        said = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in faults.items() if keys)
        raise EngineUnavailable(ErrorCode.WEIGHTS_DAMAGED, f"{source} does not hold the weights expected", said)
    if idle:
        logger.info("%s: %d keys are not used for inference: %s", source, len(idle), _some(sorted(idle)))
    module.load_state_dict({key: state[key] for key in wanted}, assign=True)
    return module.eval().requires_grad_(False)


def audio_linear(state: State) -> TokenProjector:
    """Return the network of `audio_linear.pth`, with the sizes that the file has."""
    with _described_by(files.AUDIO_LINEAR):
        with torch.device("meta"):
            module = TokenProjector(*_projector_size(state, "", files.AUDIO_LINEAR))
        return load_strictly(module, state, files.AUDIO_LINEAR)


def emo_model(state: State) -> EmotionModel:
    """Return the network of `emo_model.pth`. Its classifier and its search for the nearest code are not used."""
    with _described_by(files.EMO_MODEL):
        _, hidden, tokens, width = _projector_size(state, "emo_linear.", files.EMO_MODEL)
        codes = len(_get(state, "codebook.codebook.weight", files.EMO_MODEL))
        with torch.device("meta"):
            module = EmotionModel(hidden, tokens, width, codes)
        return load_strictly(module, state, files.EMO_MODEL, unused=("classifier.", "codebook.fc."))


def pose_guider(state: State) -> PoseGuider:
    """Return the network of `pose_guider.pth`."""
    with _described_by(files.POSE_GUIDER):
        blocks = sum(key.startswith("blocks.") and key.endswith(".weight") for key in state)
        names = ("conv_in", *(f"blocks.{index}" for index in range(1, blocks, 2)))
        channels = tuple(len(_get(state, f"{name}.weight", files.POSE_GUIDER)) for name in names)
        with torch.device("meta"):
            module = PoseGuider(len(_get(state, "conv_out.weight", files.POSE_GUIDER)), channels)
        return load_strictly(module, state, files.POSE_GUIDER)


def ifnet(state: State) -> rife.IFNet:
    """Return the network of `flownet.pkl`, whose keys all begin with `module.`."""
    with _described_by(files.FLOWNET):
        with torch.device("meta"):
            module = rife.IFNet()
        bare = {key.removeprefix("module."): value for key, value in state.items()}
        return load_strictly(module, bare, files.FLOWNET, unused=(rife.UNUSED_PREFIX,))


def unet(config: Config, state: State) -> DiceTalkUNet:
    """Return the network of `unet.pth`, which holds all of SVD's UNet and the adapters."""
    with _described_by(files.UNET_CONFIG):
        with torch.device("meta"):
            module = build_unet(config)
        return load_strictly(module, state, files.UNET).optimise_for_inference()


def vae(config: Config, state: State) -> AutoencoderKLTemporalDecoder:
    """Return SVD's autoencoder."""
    with _described_by(files.VAE_CONFIG):
        with torch.device("meta"):
            module = AutoencoderKLTemporalDecoder.from_config(config)
        return load_strictly(module, state, files.VAE)


def image_encoder(config: Config, state: State) -> CLIPVisionModelWithProjection:
    """Return CLIP's image encoder."""
    with _described_by(files.IMAGE_ENCODER_CONFIG):
        with torch.device("meta"):
            module = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
        embeddings = module.vision_model.embeddings
        places = torch.arange(embeddings.num_positions)[None]
        embeddings.register_buffer("position_ids", places, persistent=False)  # 0, 1, 2, ...: left on the meta device
        return load_strictly(module, state, files.IMAGE_ENCODER, unused=("vision_model.embeddings.position_ids",))


def whisper(config: Config, state: State) -> WhisperEncoder:
    """Return Whisper's encoder. The decoder is not used."""
    with _described_by(files.WHISPER_CONFIG):
        with torch.device("meta"):
            module = WhisperEncoder(WhisperConfig.from_dict(config))
        bare = {key.removeprefix("model.").removeprefix("encoder."): value for key, value in state.items()}
        return load_strictly(module, bare, files.WHISPER_ENCODER, unused=("decoder.", "proj_out."))


def _projector_size(state: State, prefix: str, source: str) -> tuple[int, int, int, int]:
    """Return inputs, hidden width, tokens and token width of a `TokenProjector`."""
    first, last, norm = (_get(state, f"{prefix}{name}.weight", source) for name in ("proj1", "proj3", "norm"))
    return first.shape[1], first.shape[0], last.shape[0] // len(norm), len(norm)


def _get(state: State, key: str, source: str) -> Tensor:
    if key not in state:
        raise EngineUnavailable(
            ErrorCode.WEIGHTS_DAMAGED, f"{source} does not hold the weights expected", f"1 missing: {key}"
        )
    return state[key]


def _config(path: Path) -> Config:
    with _readable(path):
        config = json.loads(path.read_text())
        if not isinstance(config, dict):  # diffusers would take a string for a model to fetch
            raise TypeError("not a dictionary")
    return config


def _state(path: Path) -> State:
    """Return the tensors in a file, mapped from disk if the format allows it, so that they are in memory once."""
    with _readable(path):
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise TypeError("not a dictionary of names")
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise TypeError("more than tensors")
    return cast(State, state)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the file in any error: readers of damaged files raise almost anything."""
    try:
        yield
    except Exception as error:
        raise EngineUnavailable(
            ErrorCode.WEIGHTS_DAMAGED, f"{path.parent.name}/{path.name} can't be read", _what_to_do(error)
        ) from error


@contextmanager
def _described_by(source: str) -> Iterator[None]:
    """Name the file whose sizes describe a network that cannot be built."""
    try:
        yield
    except EngineUnavailable:
        raise
    except Exception as error:
        raise EngineUnavailable(
            ErrorCode.WEIGHTS_DAMAGED, f"{source} does not describe the network expected", _what_to_do(error)
        ) from error


def _what_to_do(error: Exception) -> str:
    return f"It is missing or damaged ({type(error).__name__}). Delete what is there and run: dice-talk download"


def _some(keys: list[str]) -> str:
    rest = len(keys) - _NAMED_IN_ERRORS
    return ", ".join(keys[:_NAMED_IN_ERRORS]) + (f" and {rest} more" if rest > 0 else "")
