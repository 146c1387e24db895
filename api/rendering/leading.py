"""Lets a server dispatch as long as it is its turn: always, if there is only one."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from api.rendering.dispatcher import Dispatcher
from api.tasks.leadership import Leadership
from api.tasks.store import StoreFailure

log = logging.getLogger(__name__)

CAMPAIGN_S, LOOK_S = 1.0, 5.0
"""How often a server tries to lead or says that it still does, and how often it looks for tasks that others took."""


async def lead(dispatcher: Dispatcher, leadership: Leadership | None, engine: str) -> None:
    """Start the dispatcher, and let it rest while another server leads; until cancelled or the dispatcher is stopped.

    Without `leadership`, there is nothing to do after the start. `engine` is loaded ahead.
    """
    if leadership is None:
        await dispatcher.start(engine)
        return
    with ThreadPoolExecutor(1, "leadership") as thread:  # its own: it must not wait for requests
        try:
            await _campaign(dispatcher, leadership, engine, thread)
        finally:
            thread.submit(leadership.release)


async def _campaign(dispatcher: Dispatcher, leadership: Leadership, engine: str, thread: ThreadPoolExecutor) -> None:
    loop, term, silent, looked = asyncio.get_running_loop(), None, False, 0.0
    while not dispatcher.stopped:
        try:
            now = await loop.run_in_executor(thread, leadership.campaign, dispatcher.report())
            if now != term:
                await _change(dispatcher, term, now, engine)
                term = now
            elif now is not None and loop.time() - looked > LOOK_S:
                looked = loop.time()
                await dispatcher.look_for_work()
            silent = False
        except StoreFailure as error:
            if not silent:
                log.error("the servers cannot agree on who dispatches until the database answers: %s", error)
            silent = True
        except Exception:
            log.exception("it could not be settled who dispatches")
        await asyncio.sleep(CAMPAIGN_S)


async def _change(dispatcher: Dispatcher, before: int | None, now: int | None, engine: str) -> None:
    if before is not None:
        log.warning("another server dispatches now")
        await dispatcher.resign()
    if now is not None:
        log.info("this server dispatches from now on (term %d)", now)
        await dispatcher.start(engine)
