"""mediapipe's ready-made networks, imported without what they never use."""

import sys
from types import ModuleType
from typing import Any

UNUSED = ("matplotlib", "matplotlib.pyplot", "sounddevice")
"""For plotting landmarks and for recording sound. mediapipe imports them at once, in three quarters of the time its
import takes (0.62 s, 0.15 s without), and each process that looks at one picture would wait for them.
"""


def load_solutions() -> Any:
    """`mediapipe.solutions`; all but its 3-D plots works."""
    absent = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update((name, ModuleType(name)) for name in absent)
    try:
        import mediapipe
    finally:
        for name in absent:
            del sys.modules[name]  # whoever else wants it gets the real one
    return mediapipe.solutions
