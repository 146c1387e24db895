"""Shows Ray's autoscaler how many more slots are wanted, by tasks that wait for one."""

import asyncio
import time
from typing import Any

import ray

from api.rendering.cluster.plan import Plan
from dice_talk.engines import spec_of
from dice_talk.node import RESOURCE

PATIENCE_S = 2.0
"""How long slots must be lacking: a task that finds a slot at once would only be in the way."""
SOME_GPU = 0.001
"""A share of a GPU that is smaller than any slot's."""


class Demand:
    """As many waiting tasks of Ray as there are slots lacking. They do nothing when their time comes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._waiting: list[Any] = []
        self._since: float | None = None

    async def show(self, lacking: int) -> None:
        """Have so many tasks wait."""
        self._since = (self._since or time.monotonic()) if lacking > 0 else None
        wanted = lacking if self._since is not None and time.monotonic() - self._since >= PATIENCE_S else 0
        if wanted or self._waiting:
            await asyncio.to_thread(self._adjust, wanted)

    def _adjust(self, wanted: int) -> None:
        if self._waiting:
            _, self._waiting = ray.wait(self._waiting, num_returns=len(self._waiting), timeout=0)
        while len(self._waiting) > max(0, wanted):
            ray.cancel(self._waiting.pop(), force=True)
        gpus = SOME_GPU if spec_of(self._plan.engine).gpu else 0
        waiter = ray.remote(_nothing).options(num_cpus=0, num_gpus=gpus, resources={RESOURCE: 1}, max_retries=0)
        while len(self._waiting) < wanted:
            self._waiting.append(waiter.remote())


def _nothing() -> None:
    pass
