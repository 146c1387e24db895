"""The lite engine's spec. Imports nothing that renders."""

from dice_talk.engine import EngineSpec, SampleTiming

_SMALL = 256 * 256
SPEC = EngineSpec(
    name="lite",
    module="dice_talk.lite.engine",
    source_type="compositeSynthetic",
    summary="Animates the portrait on any CPU, with models that the packages carry.",
    revision=2,
    auto=10,
    packages=("pocketsphinx", "cv2"),
    distributions=("pocketsphinx", "cffi", "opencv-python-headless"),
    package_files=(
        "dice_talk/face_models/face_detection_full_range.tflite",
        "dice_talk/face_models/face_detection_short_range.tflite",
        "dice_talk/face_models/mesh_left_eye.tflite",
        "dice_talk/face_models/mesh_lips.tflite",
        "dice_talk/face_models/mesh_regions.json",
        "dice_talk/face_models/mesh_right_eye.tflite",
        "dice_talk/face_models/mesh_trunk.tflite",
        "dice_talk/face_models/selfie_segmentation.tflite",
        "pocketsphinx/model/en-us/en-us-phone.lm.bin",
    ),
    remedy="Run: .venv/bin/pip install --force-reinstall -r requirements_api.txt"
    " && .venv/bin/python -m dice_talk.lite.sphinx",
    one_process=False,  # Python's threads would share one core
    timings=(SampleTiming(_SMALL, 198, seconds=0.5), SampleTiming(_SMALL, 198, seconds=6.0)),
    portrait_check="dice_talk.portrait_check:check_landmarks",
)
