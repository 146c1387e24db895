"""Whether there is a GPU, as its driver's own tool says."""

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from dice_talk.device import gpu_available, nvidia_available


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a script in the place of `nvidia-smi`."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(script: str) -> None:
        path = tmp_path / "nvidia-smi"
        path.write_text(script)
        path.chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("script", "available"),
    [
        ('#!/bin/sh\n[ "$*" = -L ] && echo "GPU 0: NVIDIA H100 (UUID: GPU-1)"\n', True),
        ('#!/bin/sh\necho "No devices were found"\n', False),
        ('#!/bin/sh\necho "GPU 0: lost"\nexit 9\n', False),
        ("#!/no/such/shell\n", False),
    ],
)
def test_nvidias_tool_is_asked(tool: Callable[[str], None], script: str, available: bool) -> None:
    tool(script)
    assert gpu_available() is nvidia_available() is available


@pytest.mark.usefixtures("tool")
def test_there_is_none_without_a_driver() -> None:
    assert not gpu_available()


@pytest.mark.parametrize(("machine", "available"), [("arm64", True), ("x86_64", False)])
def test_apple_silicon_has_one(monkeypatch: pytest.MonkeyPatch, machine: str, available: bool) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert gpu_available() is available
