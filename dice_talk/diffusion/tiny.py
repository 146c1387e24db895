"""A complete checkpoints folder with tiny random weights: published layout and key names, a ten-thousandth of the size.

For tests, and for trying the whole pipeline on any machine. The videos show noise.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dice_talk.diffusion import files
from dice_talk.diffusion.layers import EmotionModel, PoseGuider, TokenProjector
from dice_talk.diffusion.preprocess import HEARD_TOKENS
from dice_talk.diffusion.priors import PRIOR_WIDTH
from dice_talk.diffusion.rife import IFNet
from dice_talk.diffusion.unet import build_unet
from dice_talk.emotions import Emotion

LABEL = "tiny random weights"
# Configs of diffusers and transformers. Everything except sizes is as published.
_WIDTH, _TOKENS, _HIDDEN = 16, 2, 16  # 1024, 32 and 1024 in the published weights
_CHANNELS = 32
UNET = {
    "sample_size": 8,
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": [32, 32, 32, 32],
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24,
    "layers_per_block": 1,
    "cross_attention_dim": _WIDTH,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [1, 2, 2, 2],
    "num_frames": 25,
}
VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "block_out_channels": [32, 32, 32, 32],
    "layers_per_block": 1,
    "latent_channels": 4,
    "sample_size": 64,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
IMAGE_ENCODER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 224,
    "patch_size": 56,
    "projection_dim": _WIDTH,
}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 4,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}


def make_tiny_checkpoints(folder: Path, seed: int = 0) -> None:
    """Write the folder, overwriting existing files. The same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _write(folder)
    random = np.random.default_rng(seed)
    for emotion in Emotion:
        prior = {"mu": random.standard_normal((1, PRIOR_WIDTH)).astype(np.float32)}
        path = _made(folder / files.prior_path(emotion))
        np.save(path, np.array(prior, dtype=object), allow_pickle=True)  # as the published ones are
    files.write_label(folder, LABEL)


def _write(folder: Path) -> None:
    _save_torch(folder / files.UNET, build_unet(UNET))
    heard = HEARD_TOKENS * (WHISPER["encoder_layers"] + 1) * WHISPER["d_model"]
    _save_torch(folder / files.AUDIO_LINEAR, TokenProjector(heard, _HIDDEN, _TOKENS, _WIDTH))
    _save_torch(folder / files.EMO_MODEL, EmotionModel(_HIDDEN, _TOKENS, _WIDTH))
    _save_torch(folder / files.POSE_GUIDER, PoseGuider(_CHANNELS, (8, 8, 8, 8)))
    _save_torch(folder / files.FLOWNET, IFNet(), prefix="module.")
    _save_config(folder / files.UNET_CONFIG, UNET)
    _save_config(folder / files.VAE_CONFIG, VAE)
    _save_tensors(folder / files.VAE, AutoencoderKLTemporalDecoder.from_config(VAE))
    _save_config(folder / files.IMAGE_ENCODER_CONFIG, IMAGE_ENCODER)
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(IMAGE_ENCODER))
    _save_tensors(folder / files.IMAGE_ENCODER, encoder)
    _save_config(folder / files.WHISPER_CONFIG, WHISPER)
    whisper = WhisperEncoder(WhisperConfig.from_dict(WHISPER))
    _save_tensors(folder / files.WHISPER_ENCODER, whisper, prefix="model.encoder.")


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _save_torch(path: Path, module: nn.Module, prefix: str = "") -> None:
    torch.save({prefix + key: value.contiguous() for key, value in module.state_dict().items()}, _made(path))


def _save_tensors(path: Path, module: nn.Module, prefix: str = "") -> None:
    state = {prefix + key: value.half().contiguous() for key, value in module.state_dict().items()}
    save_file(state, _made(path))


def _save_config(path: Path, config: Mapping[str, object]) -> None:
    _made(path).write_text(json.dumps(config, indent=2) + "\n")
