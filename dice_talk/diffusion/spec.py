"""The diffusion engine's spec. Imports no torch."""

from dice_talk.diffusion.files import INSIGHTFACE, NEEDED_FILES, YOLOFACE
from dice_talk.diffusion.reuse import WORK
from dice_talk.engine import EngineSpec

SPEC = EngineSpec(
    name="diffusion",
    module="dice_talk.diffusion.engine",
    source_type="compositeWithTrainedAlgorithmicMedia",
    summary="DICE-Talk: Stable Video Diffusion with audio and emotion adapters.",
    revision=2,
    auto=20,
    packages=("torch", "diffusers", "transformers"),
    distributions=(
        "torch",
        "diffusers",
        "transformers",
        "safetensors",
        "opencv-python-headless",
        "insightface",
        "onnxruntime",
    ),
    files=NEEDED_FILES,
    extras=(YOLOFACE, INSIGHTFACE),
    remedy="Use engine=lite or engine=auto; see 'Engines' in the README for what diffusion needs.",
    one_process=True,
    gpu=True,
    tunable=True,
    step_work=WORK,
    weights="dice_talk.diffusion.files:weights_label",
    doctor="dice_talk.diffusion.doctor:examine",
)
