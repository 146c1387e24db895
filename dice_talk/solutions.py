"""mediapipe's ready-made networks, imported without what they never use."""

import sys
from threading import Lock
from types import ModuleType
from typing import Any

UNUSED = ("matplotlib", "matplotlib.pyplot", "sounddevice")
"""For plotting landmarks and for recording sound. mediapipe imports them at once, in three quarters of the time its
import takes (0.62 s, 0.15 s without), and each process that looks at one picture would wait for them.
"""


_importing = Lock()


def load_solutions() -> Any:
    """`mediapipe.solutions`; all but its 3-D plots works."""
    with _importing:
        absent = [] if "mediapipe" in sys.modules else [name for name in UNUSED if name not in sys.modules]
        stubs = {name: ModuleType(name) for name in absent}
        sys.modules.update(stubs)
        try:
            import mediapipe
        finally:
            for name in stubs:
                sys.modules.pop(name, None)  # mediapipe keeps the stub; whoever else wants it gets the real one
    return mediapipe.solutions
