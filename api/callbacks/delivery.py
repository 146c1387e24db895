"""Tells a client's server how its task ended, signed and repeated as standardwebhooks.com specifies."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
import httpcore2

from api.callbacks.outbound import AddressRefused, GuardedBackend, Network
from api.callbacks.signing import secret_of, sign
from api.errors import TaskNotFound
from api.logs import working_on
from api.metrics import Metrics
from api.schemas.tasks import SynthesisEnded, TaskState
from api.tasks.model import Callback, TaskStatus
from api.tasks.store import StoreFailure, TaskStore
from dice_talk import __version__

log = logging.getLogger(__name__)

RETRY_S = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600, 36_000)
"""Seconds between attempts. After the last one, a day in all, the delivery is given up."""
JITTER = 0.1
"""The share by which a wait may be longer, so that deliveries that failed together are not repeated together."""
LOOK_EVERY_S, STORE_AGAIN_S = 0.5, 2.0
PARALLEL = 16
"""Deliveries at the same time."""
GONE = 410
"""A receiver that answers with this status wants no more."""


class NotDelivered(Exception):
    """An attempt failed. The message says how, without naming the receiver. `final`: do not try again."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Webhooks:
    """Delivers the callbacks in the store, each at least once: one that a crash interrupted is sent again."""

    def __init__(
        self,
        store: TaskStore,
        state_of: Callable[[str, str | None], Awaitable[TaskState]],
        secret: bytes,
        *,
        networks: Sequence[Network],
        seconds: float,
        clock: Callable[[], datetime],
        metrics: Metrics,
        leading: Callable[[], bool] = lambda: True,
    ) -> None:
        """`state_of`: returns a task's state by id and owner. `networks`: allowed, though private.

        `leading`: whether this server delivers; of several, only one does.
        """
        self._store, self._state_of, self._secret = store, state_of, secret
        self._seconds, self._clock, self._metrics, self._leading = seconds, clock, metrics, leading
        self._sending: set[str] = set()
        self._connections = httpcore2.AsyncConnectionPool(
            ssl_context=httpcore2.default_ssl_context(),  # made once, because it reads all certificates
            max_connections=PARALLEL,
            max_keepalive_connections=0,
            network_backend=GuardedBackend(networks),
        )

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as deliveries, self._connections:
            while True:
                busy = set(self._sending)  # a delivery may end while the store is read
                for callback in await self._due():
                    if callback.task_id not in busy and len(self._sending) < PARALLEL:
                        self._sending.add(callback.task_id)
                        deliveries.create_task(self._deliver(callback))
                await asyncio.sleep(LOOK_EVERY_S)

    async def _due(self) -> list[Callback]:
        if not self._leading():
            return []
        try:
            return await asyncio.to_thread(self._store.callbacks_due, self._clock(), 2 * PARALLEL)
        except StoreFailure as error:
            log.error("callbacks cannot be read: %s", error)
            await asyncio.sleep(STORE_AGAIN_S)
            return []

    async def _deliver(self, callback: Callback) -> None:
        """Make one attempt, and store its outcome."""
        with working_on(callback.task_id):
            try:
                state = await self._state_of(callback.task_id, callback.owner)
                if not state.ended:
                    return  # the cache is older than what was just read
                await self._send(callback, state)
            except TaskNotFound:
                pass  # the task was removed, and its callback with it
            except NotDelivered as problem:
                await self._postpone(callback, problem)
            except Exception:
                log.exception("callback could not be sent")
                await asyncio.sleep(STORE_AGAIN_S)
            else:
                self._metrics.note_callback("delivered")
                log.info("callback delivered")
                await self._store_surely(partial(self._store.drop_callback, callback.task_id))
            finally:
                self._sending.discard(callback.task_id)

    async def _send(self, callback: Callback, state: TaskState) -> None:
        """Raises `NotDelivered`."""
        ended = SynthesisEnded(
            type="synthesis.completed" if state.status is TaskStatus.COMPLETED else "synthesis.failed",
            timestamp=state.updated_at.replace(tzinfo=UTC),
            data=state,
        )
        body = ended.model_dump_json().encode()
        now = int(time.time())  # the machine's clock: the receiver compares it with its own
        headers: dict[bytes | str, bytes | str] = {
            "Content-Type": "application/json",
            "User-Agent": f"DICE-Talk-Server/{__version__}",
            "webhook-id": callback.task_id,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(secret_of(callback.owner, self._secret), callback.task_id, now, body),
        }
        try:
            with anyio.fail_after(self._seconds):
                # Only the status counts, so the body is not read. A redirect is a failure.
                async with self._connections.stream("POST", callback.url, headers=headers, content=body) as answer:
                    status = answer.status
        except TimeoutError as error:
            raise NotDelivered(f"no answer within {self._seconds:g} s") from error
        except AddressRefused as error:
            raise NotDelivered("its address is not allowed") from error
        except Exception as error:  # any fault of the receiver; some messages name it, so they are not logged
            raise NotDelivered(f"no answer, {type(error).__name__}") from error
        if not 200 <= status < 300:
            raise NotDelivered(f"answered with {status}", final=status == GONE)

    async def _postpone(self, callback: Callback, problem: NotDelivered) -> None:
        tried = callback.attempts + 1
        if problem.final or tried > len(RETRY_S):
            self._metrics.note_callback("gave_up")
            log.warning("callback given up after %d attempts; last: %s", tried, problem)
            await self._store_surely(partial(self._store.drop_callback, callback.task_id))
            return
        wait = RETRY_S[tried - 1] * random.uniform(1, 1 + JITTER)
        self._metrics.note_callback("failed")
        log.warning("callback, attempt %d: %s; the next one follows in %.0f s", tried, problem, wait)
        due = self._clock() + timedelta(seconds=wait)
        await self._store_surely(partial(self._store.postpone_callback, callback.task_id, tried, due))

    async def _store_surely(self, change: Callable[[], None]) -> None:
        """Repeat a change until the database accepts it. Otherwise the receiver would be called again at once."""
        while True:
            try:
                return await asyncio.to_thread(change)
            except StoreFailure as error:
                log.error("callback: its end could not be stored yet: %s", error)
                await asyncio.sleep(STORE_AGAIN_S)
