"""An actor as the driver sees it: found or made, held, asked for news, and given jobs."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from api.rendering.cluster import pieces
from api.rendering.cluster.actor import SlotActor
from api.rendering.cluster.nodes import Share
from api.rendering.cluster.plan import Plan
from dice_talk.engines import spec_of
from dice_talk.node import RESOURCE

log = logging.getLogger(__name__)

T = TypeVar("T")

ANSWER_S = 5.0
"""An actor that does not answer `news` for so long is lost, with its renders. It answers after 2 s when nothing
happens.
"""
RETRY_S = 0.5
OnNews = Callable[[int, Mapping[str, Any] | None, pieces.Pieces | None], None]
"""Takes a job's number, its progress and its state."""


class SeatLost(Exception):
    """The actor has ended, does not answer, or is held by another server. The message says which."""


class Seat:
    """One actor. `keep` holds it for as long as it runs."""

    def __init__(
        self, share: Share, plan: Plan, on_news: OnNews, on_change: Callable[[], None], every: Callable[[], float]
    ) -> None:
        """`every`: seconds between two questions."""
        self.share, self.jobs = share, set[int]()
        self.held, self.problem, self.draining = False, "it is being started", False
        self.loaded: list[str] = []
        self.broken: str | None = None
        self._plan, self._on_news, self._on_change, self._every = plan, on_news, on_change, every
        self._actor: Any = None
        self._used = time.monotonic()
        self._token = ""
        self._losing: asyncio.Future[str] | None = None  # its result: why the actor was lost

    @property
    def idle_seconds(self) -> float:
        """How long it has had nothing to render."""
        if self.jobs:
            self._used = time.monotonic()
        return time.monotonic() - self._used

    @property
    def slots(self) -> list[dict[str, Any]]:
        """What the server is told of each place."""
        share, gpu = self.share, bool(self.share.gpus) and spec_of(self._plan.engine).gpu
        return [
            {
                "name": f"{share.name}/{place}",
                "seat": share.name,
                "location": share.node.name,
                "device": "gpu" if gpu else "cpu",
                "loaded": self.loaded,
                "broken": self.broken,
            }
            for place in range(1, share.places + 1)
        ]

    async def keep(self) -> None:
        """Hold the actor, again after each loss, until cancelled."""
        while True:
            try:
                await self._hold()
            except SeatLost as error:
                self._lose(str(error))
            except TimeoutError:
                self._lose("it does not answer")
                await asyncio.to_thread(self._kill)
            except RayError as error:
                self._lose(type(error).__name__)
            except Exception as error:
                log.exception("%s", self.share.name)
                self._lose(type(error).__name__)
            await asyncio.sleep(RETRY_S)

    async def _hold(self) -> None:
        self._actor = await asyncio.to_thread(self._find)
        self._token = secrets.token_hex(8)
        if not await _answer(self._actor.attach.remote(self._plan.server, self._token)):
            raise SeatLost("another server holds it")
        self._losing, seen = asyncio.get_running_loop().create_future(), 0
        while True:
            asked = time.monotonic()
            async with asyncio.timeout(ANSWER_S):
                news = await _answer(self._actor.news.remote(self._token, seen))
            if news is None:
                raise SeatLost("another server has taken it over")
            if self._losing.done():
                raise SeatLost(self.problem)
            seen = news["version"]
            self._take(news)
            await asyncio.sleep(max(0.0, self._every() - (time.monotonic() - asked)))

    def _take(self, news: Mapping[str, Any]) -> None:
        before = self.held, self.loaded, self.broken, self.draining
        after = True, news["loaded"], news["broken"], news["draining"]
        self.held, self.loaded, self.broken, self.draining = after
        if before != after:
            self._on_change()
        for number in news["progress"].keys() | news["states"].keys():
            if number in self.jobs:
                self._on_news(number, news["progress"].get(number), news["states"].get(number))

    def _lose(self, reason: str) -> None:
        was_held, self.held, self.problem = self.held, False, reason
        if self._losing and not self._losing.done():
            self._losing.set_result(f"{self.share.node.name}: {reason}")
        if was_held:
            log.warning("%s on %s: %s", self.share.name, self.share.node.name, reason)
            self._on_change()

    def lose(self, reason: str) -> None:
        """Give up the actor: its node is gone."""
        self._lose(reason)

    async def until_lost(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Start something that needs the actor, and wait for its end. Raises `SeatLost`."""
        if not self.held or self._losing is None:
            raise SeatLost(f"{self.share.node.name}: {self.problem}")
        losing, work = self._losing, asyncio.create_task(start())
        either: set[asyncio.Future[Any]] = {losing, work}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
        except RayError as error:
            self._lose(type(error).__name__)  # before the render can come back to this slot
            raise SeatLost(losing.result()) from error
        finally:
            work.cancel()
        raise SeatLost(losing.result())

    async def render(
        self, number: int, place: int, engine: str, message: Mapping[str, Any], files: Mapping[str, pieces.Pieces]
    ) -> dict[str, Any]:
        """Render a job. Returns an `Outcome`. Raises `SeatLost`."""
        arguments = self._token, number, place, engine, message, files
        return await self.until_lost(lambda: _answer(self._actor.render.remote(*arguments)))

    def cancel(self, number: int) -> None:
        """Stop a job at its next step."""
        if self.held:
            self._actor.cancel.remote(self._token, number)

    async def leave(self) -> None:
        """Stop all jobs, and leave the actor to the next server."""
        if self.held:
            await _answer(self._actor.detach.remote(self._token))

    async def end(self) -> None:
        """End the actor."""
        if self.held:
            await _answer(self._actor.end.remote(self._token))

    def _find(self) -> Any:
        share = self.share
        return (
            ray.remote(SlotActor)
            .options(
                name=share.name,
                get_if_exists=True,
                lifetime="detached",
                max_restarts=0,
                num_cpus=0,
                num_gpus=share.gpus,
                resources={RESOURCE: share.places},
                scheduling_strategy=NodeAffinitySchedulingStrategy(share.node.id, soft=False),
            )
            .remote(self._plan, share.places, share.node.name)
        )

    def _kill(self) -> None:
        """End an actor that does not answer. A frozen one ends when it goes on."""
        try:
            ray.kill(self._actor)
        except (RayError, ValueError) as error:
            log.warning("%s: %s", self.share.name, error)


async def _answer(call: Any) -> Any:
    """Return what a remote call returned."""
    return await call
