"""Prepares a portrait and a recording as inputs of the networks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import floor

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dice_talk.audio import SAMPLE_RATE, Samples
from dice_talk.diffusion.memory import retry_on_oom
from dice_talk.face import Box, output_size
from dice_talk.image import Pixels

MASK_AREA = 1.1
"""Factor by which the face mask is larger than the face box, about its centre."""
SAMPLES_PER_AUDIO_FRAME = SAMPLE_RATE // 25
MODEL_FRAME_SAMPLES = 2 * SAMPLES_PER_AUDIO_FRAME
TOKENS_PER_FRAME = 4
"""Whisper has a token for every 20 ms, so four of them for a model frame of 80 ms. A model frame sees ten: four before
it, and six from its start on.
"""
HEARD_TOKENS, _TOKENS_BEFORE, _TOKENS_BEHIND = 10, 4, 6
_CHUNK_SAMPLES = 30 * SAMPLE_RATE  # the input length of Whisper
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and deviation of the images that CLIP was trained on (Radford et al., arXiv 2103.00020)."""

OnWindow = Callable[[float], None]
"""Called before each 30 s of speech with the share that is done. Ends the encoding if it raises."""


@dataclass(frozen=True)
class Picture:
    """A portrait as input of the networks.

    `reference` (1, 3, H, W) in [-1, 1]; `clip` (1, 3, S, S), normalised for CLIP; `mask` (1, 3, H, W) in [0, 1].
    """

    reference: Tensor
    clip: Tensor
    mask: Tensor


def prepare_picture(portrait: Pixels, face: Box, min_resolution: int, clip_size: int = 224) -> Picture:
    """Scale a portrait and the mask of its face to the size of the video."""
    image = Image.fromarray(portrait)
    size = output_size(*image.size, min_resolution)
    scaled = image.resize(size, Image.Resampling.LANCZOS)
    clip = scaled.resize((clip_size, clip_size), Image.Resampling.LANCZOS)
    mask = face_mask(face, *image.size).resize(size, Image.Resampling.LANCZOS)
    mean, std = (torch.tensor(values)[:, None, None] for values in (_CLIP_MEAN, _CLIP_STD))
    return Picture(_unit(scaled) * 2 - 1, (_unit(clip) - mean) / std, _unit(mask))


def face_mask(face: Box, width: int, height: int) -> Image.Image:
    """Return a mask that is white inside the enlarged face box and black elsewhere; RGB, `width` x `height`.

    The centre and half the sides of the box are rounded down to whole pixels as in the published code, so masks match
    exactly.
    """
    middle_x, middle_y = floor((face.left + face.right) / 2), floor((face.top + face.bottom) / 2)
    half_width, half_height = floor(face.width * MASK_AREA / 2), floor(face.height * MASK_AREA / 2)
    left, top = max(middle_x - half_width, 0), max(middle_y - half_height, 0)
    right, bottom = max(middle_x + half_width, 0), max(middle_y + half_height, 0)
    mask = np.zeros((height, width, 3), np.uint8)
    mask[top:bottom, left:right] = 255
    return Image.fromarray(mask)


def _unit(image: Image.Image) -> Tensor:
    """Convert an RGB image to (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def model_frames(samples: int) -> int:
    """Return the number of frames that the UNet generates for so many samples at 16 kHz."""
    return samples // MODEL_FRAME_SAMPLES


def encode_speech(
    encoder: WhisperEncoder, extractor: WhisperFeatureExtractor, samples: Samples, on_window: OnWindow
) -> Tensor:
    """Return all L hidden states of Whisper's encoder for each model frame: (F, 10, L, D), in float32 on the CPU.

    `samples`: mono at 16 kHz. The result is a view, so tokens that neighbouring frames share are stored once.
    """
    tokens = len(samples) // SAMPLES_PER_AUDIO_FRAME * 2
    layers, width = encoder.config.encoder_layers + 1, encoder.config.d_model
    padded = torch.zeros(_TOKENS_BEFORE + tokens + _TOKENS_BEHIND, layers, width)
    left = padded[_TOKENS_BEFORE : _TOKENS_BEFORE + tokens]
    for states in _hidden_states(encoder, extractor, samples, on_window):
        left[: len(states)] = states[: len(left)]
        left = left[len(states) :]
    return padded.unfold(0, HEARD_TOKENS, TOKENS_PER_FRAME)[: model_frames(len(samples))].permute(0, 3, 1, 2)


def _hidden_states(
    encoder: WhisperEncoder, extractor: WhisperFeatureExtractor, samples: Samples, on_window: OnWindow
) -> Iterator[Tensor]:
    """Yield the hidden states (1500, L, D) of each chunk of 30 s, padded with silence."""
    for start in range(0, len(samples), _CHUNK_SAMPLES):
        on_window(start / len(samples))
        chunk = samples[start : start + _CHUNK_SAMPLES]
        mel = extractor(chunk, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        encode = partial(encoder, mel.to(encoder.device, encoder.dtype), output_hidden_states=True)
        yield torch.stack(retry_on_oom(encode).hidden_states, 2)[0].float().cpu()
