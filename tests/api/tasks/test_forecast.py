"""How long until a video is there: in figures, and with real renders."""

import math
import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from api.tasks.forecast import NEAREST, Forecast, Span, Timing, Workload, estimate, remaining
from api.tasks.model import Render, TaskStatus
from dice_talk.options import RenderOptions
from tests.waiting import wait_for

NOW = datetime(2030, 1, 1)
SMALL, LARGE = Workload("lite", 256 * 256, 200, 1), Workload("lite", 512 * 512, 200, 1)


def render(number: int, status: TaskStatus = TaskStatus.PENDING, **changes: Any) -> Render:
    options = RenderOptions(emotion="sad", seed=1)
    first = Render(str(number), options, "lite", None, 200 / 24, NOW, NOW, number, status, pixels=256 * 256)
    return replace(first, **changes)


def test_equal_ones_are_asked_first() -> None:
    past = [Timing(SMALL, 2.0 + step / 10) for step in range(NEAREST)] + [Timing(LARGE, 8.0)] * 100
    found = estimate(SMALL, past)
    assert 2.0 < found.low < 2.3
    assert 3.6 < found.high < 4.0
    assert estimate(LARGE, past) == Span(8.0, 8.0)


def test_few_ones_say_little() -> None:
    one, five = estimate(SMALL, [Timing(SMALL, 4.0)]), estimate(SMALL, [Timing(SMALL, 4.0)] * 5)
    assert 2 < one.low < 2.2 < five.low < 4 < five.high < 7.6 < one.high < 8


def test_other_sizes_widen_the_range() -> None:
    assert estimate(LARGE, [Timing(SMALL, 2.0)] * NEAREST) == Span(4.0, 8.0), (
        "four times the pixels: twice to four times"
    )
    assert estimate(SMALL, [Timing(LARGE, 8.0)] * NEAREST) == Span(2.0, 4.0)


def test_nothing_known() -> None:
    assert estimate(Workload("diffusion", 512 * 512, 100, 20), [Timing(SMALL, 2.0)]).high == math.inf
    assert 0 < estimate(SMALL, []).low < estimate(SMALL, []).high < 60, "lite has something to start from"


def test_four_of_five_are_right_where_the_cost_has_a_fixed_part() -> None:
    """Render that take 0.3 s and 0.1 s a megapixel and frame, give or take a fifth."""
    drawn = random.Random(1)

    def draw() -> Timing:
        workload = Workload("lite", drawn.choice([256, 384, 512]) ** 2, drawn.randrange(20, 600), 1)
        return Timing(workload, (0.3 + 1e-7 * workload.work) * drawn.uniform(0.8, 1.2))

    past = [draw() for _ in range(200)]
    cases = [(estimate(timing.workload, past), timing.seconds) for timing in (draw() for _ in range(300))]
    assert sum(span.low <= seconds <= span.high for span, seconds in cases) > 0.8 * len(cases)
    assert sorted(span.high / span.low for span, _ in cases)[150] < 2.5, "and the range is of use"


def test_what_is_done_counts_more_and_more() -> None:
    whole = Span(10, 20)
    begun = {"started_at": NOW - timedelta(seconds=5), "attempts": 1}
    assert remaining(render(1), whole, NOW) == whole
    assert remaining(render(1, TaskStatus.PROCESSING, **begun), whole, NOW) == Span(5, 15)
    half = remaining(render(1, TaskStatus.PROCESSING, progress=0.5, **begun), whole, NOW)
    assert 4 < half.low < 5 < half.high < 11
    late = remaining(render(1, TaskStatus.PROCESSING, progress=0.05, **begun), Span(1, 2), NOW)
    assert late.low == 0 < late.high
    again = {**begun, "attempts": 2}
    assert remaining(render(1, TaskStatus.PROCESSING, progress=0.9, **again), whole, NOW) == Span(5, 15)
    unknown = Span(0, math.inf)
    assert remaining(render(1, TaskStatus.PROCESSING, progress=0.05, **begun), unknown, NOW).high == math.inf
    seen = remaining(render(1, TaskStatus.PROCESSING, progress=0.5, **begun), unknown, NOW)
    assert seen.low < 5 < seen.high


def test_the_queue_goes_over_the_slots() -> None:
    forecast = Forecast()
    running_one = render(1, TaskStatus.PROCESSING, started_at=NOW - timedelta(seconds=6), attempts=1)
    waiting = [render(number) for number in (2, 3, 4, 5)]
    forecast.renew([running_one, *waiting], [Timing(SMALL, 10.0)] * NEAREST, 2, NOW)
    spans = [forecast.find(str(number), NOW) for number in range(1, 6)]
    assert [span and span.high for span in spans] == [4, 10, 14, 20, 24]
    assert forecast.find("5", NOW + timedelta(seconds=20)) == Span(4, 4), "it ages"
    assert forecast.find("9", NOW) is None
    diffusion = render(6, TaskStatus.PROCESSING, engine="diffusion", started_at=NOW, attempts=1)
    forecast.renew([diffusion, waiting[0], waiting[1]], [Timing(SMALL, 10.0)], 1, NOW)
    assert [forecast.find(str(number), NOW) for number in (6, 2, 3)] == [None] * 3, "nor who waits for it"


def test_real_renders_teach(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve(None)
    lessons = [service.submit(portrait, speech, duration=seconds) for seconds in (2, 2, 2, 2)]
    for task in lessons:
        assert service.wait(task)["status"] == "COMPLETED"
    store = service.synthesis._store
    timings = wait_for(lambda: known if len(known := store.timings()) == 4 else None)
    assert {(timing.workload.engine, timing.workload.pixels, timing.workload.frames) for timing in timings} == {
        ("lite", 65536, 48)
    }
    took = [timing.seconds for timing in timings[1:]]  # the first may have waited for the engine
    tasks = [service.submit(portrait, speech, duration=2) for _ in range(3)]
    foreseen = wait_for(lambda: service.status(tasks[2])["eta_seconds"])
    assert foreseen["low"] <= foreseen["high"]
    assert 0.5 * min(took) < foreseen["high"] < 4 * max(timing.seconds for timing in timings)
    service.wait(tasks[2])
    assert service.status(tasks[2])["eta_seconds"] is None
    for task in (*lessons, *tasks):
        service.synthesis._store.remove(store.snapshot(task).task, NOW)
    assert len(store.timings()) == 7, "what was learnt outlives the tasks"
