"""The diffusion engine: loads DICE-Talk's networks once and renders one video after another, or two at a time."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dice_talk.audio import Speech, load_speech
from dice_talk.diffusion import checkpoints as loading
from dice_talk.diffusion.condition import Task, guided, prepare_task
from dice_talk.diffusion.decode import decode
from dice_talk.diffusion.denoise import WINDOW, Guidance, Predict, Windows, denoise, draw_noise, initial_latents
from dice_talk.diffusion.detectors import choose_detector
from dice_talk.diffusion.devices import Memory, best_device, out_of_memory
from dice_talk.diffusion.files import weights_label
from dice_talk.diffusion.interpolate import resample
from dice_talk.diffusion.preprocess import Picture, prepare_picture
from dice_talk.diffusion.schedule import Schedule, karras_schedule
from dice_talk.engine import Progress, RenderJob, RenderResult, Report
from dice_talk.errors import NoFaceFound
from dice_talk.face import Detector, crop_square
from dice_talk.image import load_portrait
from dice_talk.options import MAX_DURATION_S, RenderOptions
from dice_talk.video import VideoWriter, frame_count

