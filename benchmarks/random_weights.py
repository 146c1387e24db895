"""The diffusion engine's networks with random weights: tiny, or as large as the published ones. No download."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dice_talk.diffusion import tiny
from dice_talk.diffusion.checkpoints import Models, load_models
from dice_talk.diffusion.layers import EmotionModel, PoseGuider, TokenProjector
from dice_talk.diffusion.preprocess import HEARD_TOKENS
from dice_talk.diffusion.rife import IFNet
from dice_talk.diffusion.unet import build_unet

UNET = {
    **tiny.UNET,
    "block_out_channels": [320, 640, 1280, 1280],
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "num_attention_heads": [5, 10, 20, 20],
}
VAE = {**tiny.VAE, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}
IMAGE_ENCODER = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 1024,
}
WHISPER = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}


def tiny_models(device: torch.device, dtype: torch.dtype) -> Models:
    """Return the models of `make-tiny-checkpoints`, before their weights are rearranged."""
    with tempfile.TemporaryDirectory() as folder:
        tiny.make_tiny_checkpoints(Path(folder))
        loaded = load_models(Path(folder), device, dtype)
    torch.manual_seed(0)
    unet = build_unet(tiny.UNET).eval().requires_grad_(False)
    return replace(loaded, unet=nn.Module.to(unet, device, dtype))


def full_models(device: torch.device, dtype: torch.dtype) -> Models:
    """Return all networks in their published sizes."""
    small = tiny_models(device, dtype)
    torch.manual_seed(0)
    with device:
        made = published_networks(dtype)
    return replace(small, **{name: net.to(device) for name, net in made.items()})


def published_networks(dtype: torch.dtype) -> dict[str, nn.Module]:
    """Return the networks by their names in `Models`, on torch's default device and in the engine's precisions."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        nets = {
            "unet": nn.Module.to(build_unet(UNET), dtype),  # diffusers' own `to` warns
            "vae": AutoencoderKLTemporalDecoder.from_config(VAE),
            "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**IMAGE_ENCODER)),
            "emo_model": EmotionModel(),
            "pose_guider": PoseGuider(),
            "audio_linear": TokenProjector(HEARD_TOKENS * (WHISPER["encoder_layers"] + 1) * WHISPER["d_model"]),
        }
    finally:
        torch.set_default_dtype(before)
    for net in (nets["vae"].encoder, nets["vae"].quant_conv, nets["audio_linear"], nets["emo_model"]):
        net.float()
    nets["whisper"], nets["ifnet"] = WhisperEncoder(WhisperConfig(**WHISPER)), IFNet()
    return {name: net.eval().requires_grad_(False) for name, net in nets.items()}
