"""Reuses features of the previous step: the request option `quality`.

The first of a few steps runs the whole UNet. The others run its first and last layers, and reuse the output of the
rest, which changes slowly over the steps (the idea of DeepCache, Ma et al., arXiv 2312.00858). Windows stay in place
for these steps, so only one window's features are cached, and memory does not grow with the video's length.

This is an approximation. It has not been judged with trained weights; docs/diffusion.md says what was measured.
"""

from dataclasses import dataclass

from dice_talk.options import Quality


@dataclass(frozen=True)
class Reuse:
    """How much a quality reuses.

    `steps`: the first of so many steps is computed completely. `guidance`: the others run only the last guidance
    branch, and reuse its difference to the guided prediction.
    """

    steps: int = 1
    guidance: bool = False


NOTHING = Reuse()
REUSE = {
    Quality.EXACT: NOTHING,
    Quality.BALANCED: Reuse(steps=2),
    Quality.FAST: Reuse(steps=3, guidance=True),
}

WORK = {Quality.EXACT: 1.0, Quality.BALANCED: 0.54, Quality.FAST: 0.35}
"""Work of denoising relative to exact: counted on the published network at 512 px (benchmarks/NOTES.md)."""
