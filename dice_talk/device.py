"""Finds what this machine computes on, without loading a deep-learning framework."""

import platform
import shutil
import subprocess


def gpu_available() -> bool:
    """Whether there is a GPU that torch could use: an NVIDIA card with its driver, or Apple silicon."""
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    return nvidia_available()


def nvidia_available() -> bool:
    """Whether NVIDIA's driver finds a card."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        listing = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and "GPU 0" in listing.stdout
