"""The diffusion engine's networks with random weights: tiny, or as large as the published ones. No download."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dice_talk.diffusion import tiny
from dice_talk.diffusion.checkpoints import Models, load_models
from dice_talk.diffusion.layers import EmotionModel, PoseGuider, TokenProjector
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
CLIP = {**tiny.IMAGE_ENCODER, "projection_dim": 1024}
"""Runs once a video: only the size of its result matters. Whisper stays tiny too."""


def tiny_models(device: torch.device, dtype: torch.dtype) -> Models:
    """Those of `make-tiny-checkpoints`, before their weights are rearranged."""
    with tempfile.TemporaryDirectory() as folder:
        tiny.make_tiny_checkpoints(Path(folder))
        loaded = load_models(Path(folder), device, dtype)
    torch.manual_seed(0)
    unet = build_unet(tiny.UNET).eval().requires_grad_(False)
    return replace(loaded, unet=torch.nn.Module.to(unet, device, dtype))


def full_models(device: torch.device, dtype: torch.dtype) -> Models:
    """What decides time and memory has the published size."""
    small = tiny_models(device, dtype)
    torch.manual_seed(0)
    with device:
        torch.set_default_dtype(dtype)
        unet = torch.nn.Module.to(build_unet(UNET), device, dtype)
        vae = AutoencoderKLTemporalDecoder.from_config(VAE)
        clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP))
        made = {
            "unet": unet,
            "vae": vae,
            "image_encoder": clip,
            "emo_model": EmotionModel(),
            "pose_guider": PoseGuider(),
            "audio_linear": TokenProjector(small.audio_linear.proj1.in_features),
        }
        torch.set_default_dtype(torch.float32)
    vae.encoder.float()
    vae.quant_conv.float()
    return replace(small, **{name: net.to(device).eval().requires_grad_(False) for name, net in made.items()})
