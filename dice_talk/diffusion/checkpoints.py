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
from dice_talk.diffusion.checksums import checksum_of, checksums
from dice_talk.diffusion.layers import EmotionModel, PoseGuider, TokenProjector
from dice_talk.diffusion.priors import read_prior
from dice_talk.diffusion.unet import DiceTalkUNet, build_unet
from dice_talk.emotions import Emotion
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable

State = Mapping[str, Tensor]
Config = dict[str, Any]
Module = TypeVar("Module", bound=nn.Module)
Note = Callable[[str], None]
"""Takes a line about weights that can be used, but hold more than was expected."""
_NAMED_IN_ERRORS = 8
_MOST_OF_TORCHS_WORDS = 300
_RIFE_PREFIX = "module."
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """All networks, on one device. All renders share them, and nothing changes after loading.

    UNet, image encoder, pose guider and the VAE's decoder are in `dtype`. The others are in float32, as published: half
    precision would be visible, and the emotion priors lie so close together that it could lose their differences.
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
        audio_linear=read["audio_linear"]().to(device, torch.float32),
        emo_model=read["emo_model"]().to(device, torch.float32),
        pose_guider=read["pose_guider"]().to(device, dtype),
        ifnet=read["ifnet"]().to(device, torch.float32),
        priors={emotion: torch.from_numpy(read[emotion.value]()) for emotion in Emotion},
        device=device,
        dtype=dtype,
    )


def check(checkpoints: Path, note: Note) -> list[EngineUnavailable]:
    """Return everything that is wrong with the files that exist."""
    errors = []
    for read in _readers(checkpoints, note).values():
        try:
            read()
        except EngineUnavailable as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                errors.append(error)
    return errors


def _readers(checkpoints: Path, note: Note = logger.warning) -> dict[str, Callable[[], Any]]:
    """Return the reader of each network and of each emotion's prior."""

    def config(name: str) -> Config:
        return _config(checkpoints, name)

    def state(name: str) -> State:
        return _state(checkpoints, name)

    return {
        "unet": lambda: unet(config(files.UNET_CONFIG), state(files.UNET), note),
        "vae": lambda: vae(config(files.VAE_CONFIG), state(files.VAE), note),
        "image_encoder": lambda: image_encoder(config(files.IMAGE_ENCODER_CONFIG), state(files.IMAGE_ENCODER), note),
        "whisper": lambda: whisper(config(files.WHISPER_CONFIG), state(files.WHISPER_ENCODER), note),
        "audio_linear": lambda: audio_linear(state(files.AUDIO_LINEAR), note),
        "emo_model": lambda: emo_model(state(files.EMO_MODEL), note),
        "pose_guider": lambda: pose_guider(state(files.POSE_GUIDER), note),
        "ifnet": lambda: ifnet(state(files.FLOWNET), note),
        **{e.value: partial(read_prior, checkpoints / files.prior_path(e)) for e in Emotion},
    }


def load_strictly(
    module: Module, state: State, source: str, note: Note = logger.warning, unused: tuple[str, ...] = ()
) -> Module:
    """Return `module` with the weights `state`, ready for inference.

    Keys that begin with one of `unused` are expected but not needed. They are logged, and `note` is told of other keys
    that no layer has: they can't change a pixel. A missing key or a wrong shape raises `EngineUnavailable`.
    """
    idle = {key for key in state if key.startswith(unused)} if unused else set()
    wanted = module.state_dict()
    faults = {
        "missing": sorted(wanted.keys() - state.keys()),
        "of another shape": sorted(k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape),
    }
    if any(faults.values()):
        said = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in faults.items() if keys)
        raise EngineUnavailable(ErrorCode.WEIGHTS_DAMAGED, f"{source} does not hold the weights expected", said)
    if idle:
        logger.info("%s: %d keys are not used for inference: %s", source, len(idle), _some(sorted(idle)))
    if unexpected := sorted(state.keys() - wanted.keys() - idle):
        note(f"{source}: keys that are not expected and not used: {len(unexpected)} ({_some(unexpected)})")
    module.load_state_dict({key: state[key] for key in wanted}, assign=True)
    return module.eval().requires_grad_(False)


def audio_linear(state: State, note: Note = logger.warning) -> TokenProjector:
    """Return the network of `audio_linear.pth`, with the sizes that the file has."""
    with _described_by(files.AUDIO_LINEAR):
        with torch.device("meta"):
            module = TokenProjector(*_projector_size(state, "", files.AUDIO_LINEAR))
        return load_strictly(module, state, files.AUDIO_LINEAR, note)


def emo_model(state: State, note: Note = logger.warning) -> EmotionModel:
    """Return the network of `emo_model.pth`. Its classifier and its search for the nearest code are not used."""
    with _described_by(files.EMO_MODEL):
        _, hidden, tokens, width = _projector_size(state, "emo_linear.", files.EMO_MODEL)
        codes = len(_get(state, "codebook.codebook.weight", files.EMO_MODEL))
        with torch.device("meta"):
            module = EmotionModel(hidden, tokens, width, codes)
        return load_strictly(module, state, files.EMO_MODEL, note, unused=("classifier.", "codebook.fc."))


def pose_guider(state: State, note: Note = logger.warning) -> PoseGuider:
    """Return the network of `pose_guider.pth`."""
    with _described_by(files.POSE_GUIDER):
        blocks = sum(key.startswith("blocks.") and key.endswith(".weight") for key in state)
        names = ("conv_in", *(f"blocks.{index}" for index in range(1, blocks, 2)))
        channels = tuple(len(_get(state, f"{name}.weight", files.POSE_GUIDER)) for name in names)
        with torch.device("meta"):
            module = PoseGuider(len(_get(state, "conv_out.weight", files.POSE_GUIDER)), channels)
        return load_strictly(module, state, files.POSE_GUIDER, note)


def ifnet(state: State, note: Note = logger.warning) -> rife.IFNet:
    """Return the network of `flownet.pkl`. Only keys that begin with `module.` count, as in the published code."""
    with _described_by(files.FLOWNET):
        with torch.device("meta"):
            module = rife.IFNet()
        bare = {key.removeprefix(_RIFE_PREFIX): state[key] for key in state if key.startswith(_RIFE_PREFIX)}
        if others := sorted(key for key in state if not key.startswith(_RIFE_PREFIX)):
            logger.info("%s: keys without %s are not used: %s", files.FLOWNET, _RIFE_PREFIX, _some(others))
        return load_strictly(module, bare, files.FLOWNET, note, unused=(rife.UNUSED_PREFIX,))


def unet(config: Config, state: State, note: Note = logger.warning) -> DiceTalkUNet:
    """Return the network of `unet.pth`, which holds all of SVD's UNet and the adapters."""
    with _described_by(files.UNET_CONFIG):
        with torch.device("meta"):
            module = build_unet(config)
        return load_strictly(module, state, files.UNET, note).optimise_for_inference()


def vae(config: Config, state: State, note: Note = logger.warning) -> AutoencoderKLTemporalDecoder:
    """Return SVD's autoencoder."""
    with _described_by(files.VAE_CONFIG):
        with torch.device("meta"):
            module = AutoencoderKLTemporalDecoder.from_config(config)
        return load_strictly(module, state, files.VAE, note)


def image_encoder(config: Config, state: State, note: Note = logger.warning) -> CLIPVisionModelWithProjection:
    """Return CLIP's image encoder."""
    with _described_by(files.IMAGE_ENCODER_CONFIG):
        with torch.device("meta"):
            module = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
        embeddings = module.vision_model.embeddings
        places = torch.arange(embeddings.num_positions)[None]
        embeddings.register_buffer("position_ids", places, persistent=False)  # 0, 1, 2, ...: left on the meta device
        idle = ("vision_model.embeddings.position_ids",)
        return load_strictly(module, state, files.IMAGE_ENCODER, note, unused=idle)


def whisper(config: Config, state: State, note: Note = logger.warning) -> WhisperEncoder:
    """Return Whisper's encoder. The decoder is not used."""
    with _described_by(files.WHISPER_CONFIG):
        with torch.device("meta"):
            module = WhisperEncoder(WhisperConfig.from_dict(config))
        bare = {key.removeprefix("model.").removeprefix("encoder."): value for key, value in state.items()}
        return load_strictly(module, bare, files.WHISPER_ENCODER, note, unused=("decoder.", "proj_out."))


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


def _config(checkpoints: Path, name: str) -> Config:
    with _readable(checkpoints, name):
        config = json.loads((checkpoints / name).read_text())
        if not isinstance(config, dict):  # diffusers would take a string for a model to fetch
            raise TypeError("not a dictionary")
    return config


def _state(checkpoints: Path, name: str) -> State:
    """Return the tensors in a file, mapped from disk if the format allows it, so that they are in memory once."""
    path = checkpoints / name
    with _readable(checkpoints, name):
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise TypeError("not a dictionary of names")
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise TypeError("more than tensors")
    return cast(State, state)


@contextmanager
def _readable(checkpoints: Path, name: str) -> Iterator[None]:
    """Name the file in any error: readers of damaged files raise almost anything."""
    try:
        yield
    except Exception as error:
        raise EngineUnavailable(
            ErrorCode.WEIGHTS_DAMAGED, f"{name} can't be read", _what_to_do(checkpoints, name, error)
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
            ErrorCode.WEIGHTS_DAMAGED, f"{source} does not describe the network expected", _fetch_again(source, error)
        ) from error


def _what_to_do(checkpoints: Path, name: str, error: Exception) -> str:
    """Say what helps. A file whose checksum is right must not be fetched again: it would be the same one."""
    if isinstance(error, FileNotFoundError):
        return "It is missing. Run: dice-talk download"
    if isinstance(error, OSError):
        return f"The system says: {error.strerror}"
    noted = checksums(checkpoints).get(name)
    if noted is None:
        return _fetch_again(name, error)
    if checksum_of(checkpoints / name) != noted:
        return (
            f"It is not what was downloaded ({type(error).__name__}). Run dice-talk download, which fetches it alone."
        )
    return (
        "It is what was downloaded, so fetching it again does not help. "
        f"torch {torch.__version__} refuses it: {_words_of_torch(error)}"
    )


def _fetch_again(name: str, error: Exception) -> str:
    return f"It is damaged ({type(error).__name__}). Delete {name} and run dice-talk download, which fetches it alone."


def _words_of_torch(error: Exception) -> str:
    """Return what torch objects to, without its advice to load the file unsafely."""
    words = " ".join(str(error).split())
    objection = words.partition("WeightsUnpickler error: ")[2] or words
    return objection.partition(" Please use")[0][:_MOST_OF_TORCHS_WORDS]


def _some(keys: list[str]) -> str:
    rest = len(keys) - _NAMED_IN_ERRORS
    return ", ".join(keys[:_NAMED_IN_ERRORS]) + (f" and {rest} more" if rest > 0 else "")
