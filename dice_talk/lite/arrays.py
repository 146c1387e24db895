"""The array type and the sampling rate that the modules of this engine share. Imports nothing but NumPy."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RATE = 100
"""Hz; the rate of all tracks made from speech, which is that of the phone recogniser's frames."""
