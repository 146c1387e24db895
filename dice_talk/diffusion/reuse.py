"""What a step may take over from the step before: the request option `quality`.

The first step of a few runs the whole UNet. The others run its first and last layer and take what the rest gave before,
which changes slowly over the steps (the idea of DeepCache, Ma et al., arXiv 2312.00858). Windows stay where they are
meanwhile, so that what is kept is one window's: it does not grow with the video's length.

That is inexact. How it looks with trained weights has not been seen: docs/diffusion.md says what was measured.
"""

from dataclasses import dataclass

from dice_talk.options import Quality


@dataclass(frozen=True)
class Reuse:
    """`steps`: the first of so many is computed whole. `guidance`: the others run the last guidance branch alone, and
    keep the distance that guidance went before.
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
"""Of denoising, in proportion to exact: counted on the published network at 512 px (benchmarks/NOTES.md)."""
