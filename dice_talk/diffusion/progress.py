"""Progress of a render by the diffusion engine."""

from dataclasses import dataclass

from torch import Tensor

from dice_talk.diffusion.denoise import Predict
from dice_talk.engine import Progress, Report

SEEN, PREPARED, DENOISED = 0.02, 0.05, 0.85
"""Where stages end, as shares of a render at the API's defaults."""


@dataclass
class DenoisingProgress:
    """Reports denoising after each window, so that cancelling takes effect quickly."""

    report: Report
    message: str
    steps: int
    windows: int  # per step
    step: int  # finished steps
    _done: int = 0  # finished windows of the current step

    def counting(self, predict: Predict) -> Predict:
        """Wrap `predict` so that it reports after each window."""

        def counted(latents: Tensor, step: int, frames: Tensor) -> Tensor:
            output = predict(latents, step, frames)
            self._done += 1
            self.report_now()
            return output

        return counted

    def on_step(self, step: int) -> None:
        """Report a finished step. Called with the number of the first step, reports that denoising begins."""
        self.step, self._done = step, 0
        self.report_now()

    def report_now(self, preview: bytes | None = None) -> None:
        """Report the progress. Ends the render if it has been cancelled."""
        fraction = PREPARED + (DENOISED - PREPARED) * (self.step + self._done / self.windows) / self.steps
        self.report(Progress("denoise", self.message, fraction, self.step, self.steps, preview))
