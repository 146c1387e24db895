"""An engine that draws the speech's waveform over the portrait.

The service and every command import this module, so it imports nothing that renders.
"""

from dice_talk.engine import EngineSpec, SampleTiming

SPEC = EngineSpec(
    name="waveform",
    module="dice_talk_waveform.engine",
    source_type="compositeSynthetic",
    summary="Draws the speech's waveform over the portrait.",
    revision=1,
    packages=("cv2",),
    distributions=("opencv-python-headless",),
    timings=(SampleTiming(256 * 256, 198, seconds=0.3), SampleTiming(256 * 256, 198, seconds=3.0)),
)
