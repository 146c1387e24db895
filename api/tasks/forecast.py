"""Forecasts how long renders take, as a range, from how long past renders took on this machine.

It is not known which part of a render's time is fixed and which grows with its workload. So a past render with another
workload only tells that the time grows at least with the square root of the workload, and at most in proportion. The
range is narrow for workloads that are rendered often, and wide for those that never were.
"""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from statistics import quantiles

from api.tasks.model import Render, TaskStatus
from dice_talk.engines import spec_of
from dice_talk.options import RenderOptions

NEAREST = 20
"""How many of the most similar past renders are used."""
BY_PROGRESS, MIN_PROGRESS = 1.3, 0.1
"""The factor by which a forecast from the progress so far may be wrong, and the least progress for one."""


@dataclass(frozen=True)
class Workload:
    """What a render's time depends on."""

    engine: str
    pixels: int  # per frame
    frames: int
    steps: int  # per frame; 1 for an engine without steps

    @classmethod
    def of(cls, engine: str, options: RenderOptions, pixels: int, seconds: float) -> "Workload":
        """Return the workload of a video with that many pixels a frame that lasts `seconds`."""
        return cls(engine, pixels, max(1, round(seconds * options.fps)), spec_of(engine).steps(options))

    @classmethod
    def of_render(cls, render: Render) -> "Workload":
        """Return a render's workload."""
        pixels = render.pixels or render.options.min_resolution**2
        return cls.of(render.engine, render.options, pixels, render.seconds)

    @property
    def work(self) -> int:
        """A number in proportion to the work."""
        return self.pixels * self.frames * self.steps

    @cached_property
    def _place(self) -> tuple[float, float, float]:
        return math.log(self.pixels), math.log(self.frames), math.log(self.steps)

    def distance(self, other: "Workload") -> float:
        """Return 0 for an equal workload, and 1 more for each e-fold in pixels, frames or steps."""
        mine, its = self._place, other._place
        return abs(mine[0] - its[0]) + abs(mine[1] - its[1]) + abs(mine[2] - its[2])


@dataclass(frozen=True)
class Timing:
    """How long a past render took."""

    workload: Workload
    seconds: float


@dataclass(frozen=True)
class Span:
    """Seconds, in the best and the worst case."""

    low: float
    high: float

    def after(self, seconds: float) -> "Span":
        """Return what is left after some seconds."""
        return Span(max(0.0, self.low - seconds), max(0.0, self.high - seconds))


UNKNOWN = Span(0.0, math.inf)


def known_before(engine: str) -> list[Timing]:
    """What an engine's spec says of how long it takes, for a machine's first renders."""
    return [Timing(Workload(engine, one.pixels, one.frames, one.steps), one.seconds) for one in spec_of(engine).timings]


def estimate(workload: Workload, past: Iterable[Timing]) -> Span:
    """Forecast a render's time. The truth lies in the range four times out of five."""
    known = [timing for timing in past if timing.workload.engine == workload.engine] or known_before(workload.engine)
    lows, highs = [], []
    for timing in heapq.nsmallest(NEAREST, known, key=lambda timing: timing.workload.distance(workload)):
        ratio = workload.work / timing.workload.work
        lows.append(timing.seconds * min(ratio, math.sqrt(ratio)))
        highs.append(timing.seconds * max(ratio, math.sqrt(ratio)))
    if not lows:
        return UNKNOWN
    doubt = 1 + 1 / len(lows) - 1 / NEAREST  # few renders say little: after one, it may take half as long or twice
    return Span(_quantile(lows, 0.1) / doubt, _quantile(highs, 0.9) * doubt)


def _quantile(values: list[float], share: float) -> float:
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[round(100 * share) - 1]


def remaining(render: Render, whole: Span, now: datetime) -> Span:
    """Forecast the rest of a render, first from its workload and more and more from its progress."""
    if render.status is TaskStatus.PENDING or render.started_at is None:
        return whole
    elapsed = max(0.0, (now - render.started_at).total_seconds())
    done = render.progress if render.attempts == 1 else 0.0  # else it may be an earlier attempt's
    foreseen = Span(
        max(0.0, whole.low - elapsed), max(elapsed / 4, whole.high - elapsed)
    )  # a late render is likely to stay late
    if done < MIN_PROGRESS:
        return foreseen
    left = elapsed * (1 - done) / done
    seen = Span(left / BY_PROGRESS, left * BY_PROGRESS)
    if math.isinf(foreseen.high):
        return seen
    return Span(_mix(foreseen.low, seen.low, done), _mix(foreseen.high, seen.high, done))


def _mix(before: float, after: float, share: float) -> float:
    return (1 - share) * before + share * after


class Forecast:
    """Forecasts for everything that waits or runs. They are renewed from time to time, and count down in between."""

    def __init__(self) -> None:
        self._past: list[Timing] = []
        self._estimates: dict[Workload, Span] = {}  # for `_past`
        self._spans: dict[str, Span] = {}
        self._made = datetime.min

    def renew(self, unfinished: Sequence[Render], past: list[Timing], slots: int, now: datetime) -> None:
        """Renew all forecasts. `unfinished`: in order of acceptance. Takes some milliseconds after each new `past`."""
        if past != self._past:
            self._past, self._estimates = past, {}
        spans = {render.id: remaining(render, self._estimate(Workload.of_render(render)), now) for render in unfinished}
        lows, highs = [0.0] * slots, [0.0] * slots  # when each slot becomes free, in the best and worst case
        for status in (TaskStatus.PROCESSING, TaskStatus.PENDING):
            for render in unfinished:
                if render.status is status:
                    span = spans[render.id]
                    spans[render.id] = Span(heapq.heappop(lows) + span.low, heapq.heappop(highs) + span.high)
                    heapq.heappush(lows, spans[render.id].low)
                    heapq.heappush(highs, spans[render.id].high)
        self._spans, self._made = spans, now

    def foresee(self, workload: Workload) -> Span | None:
        """Return how long a render would take once it has begun; None if that is not known."""
        span = estimate(workload, self._past)
        return None if math.isinf(span.high) else span

    def _estimate(self, workload: Workload) -> Span:
        if workload not in self._estimates:
            self._estimates[workload] = estimate(workload, self._past)
        return self._estimates[workload]

    def find(self, render_id: str, now: datetime) -> Span | None:
        """Return how long until that render ends; None if that is not known."""
        span = self._spans.get(render_id, UNKNOWN)
        return None if math.isinf(span.high) else span.after(max(0.0, (now - self._made).total_seconds()))
