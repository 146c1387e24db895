"""Wires the service together: the one place where objects are made."""

import asyncio
import ipaddress
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api import processes
from api.callbacks.delivery import Webhooks
from api.callbacks.signing import load_secret
from api.clock import Clock
from api.http import errors, routes
from api.http.access import Access, OwnRate, Rate, SharedRate
from api.http.middleware import (
    HeadAsGet,
    LingeringClose,
    PlainTextErrors,
    RelativeRedirects,
    RequestLimits,
    SecureHeaders,
    UnexpectedErrors,
)
from api.http.proxies import ClientAddress, SubPath
from api.http.request_log import REQUEST_ID, RequestLog
from api.http.services import Services
from api.inspection.children import Children
from api.inspection.intake import Inspector
from api.inspection.preflight import Preflight
from api.inspection.receipts import Receipts
from api.inspection.verification import Verification
from api.keys import KeyFile
from api.metrics import Metrics
from api.rendering.cluster.slots import DRIVER, RaySlots
from api.rendering.dispatcher import Dispatcher
from api.rendering.leading import lead
from api.rendering.local import Command, EnginePool, LocalSlots
from api.rendering.slots import SlotPool
from api.schemas.options import BOUNDS
from api.service.admission import Admission
from api.service.sweeper import sweep_forever
from api.service.synthesis import Synthesis
from api.settings import Settings, StartError
from api.storage.files import RenderFiles
from api.storage.local import lock_data_folder
from api.storage.opening import open_files
from api.tasks.notices import Change
from api.tasks.store import StoreFailure, TaskStore, sqlite_url
from api.tasks.tables import StoreError
from dice_talk import __version__
from dice_talk.device import gpu_available
from dice_talk.engines import REFUSED, choose_engine
from dice_talk.errors import EngineUnavailable
from dice_talk.labels import signature
from dice_talk.worker import flags_of

log = logging.getLogger(__name__)

CLEAN_UP_S = 0.3
"""How long a start waits until what a crash left behind is removed."""
DESCRIPTION = """Turns one portrait, one speech recording and one of eight emotions into a talking-head MP4.

Start a task, ask for its status every few seconds, download the video when it is COMPLETED. Every error has the body
`{"error": "...", "detail": "...", "code": "...", "params": {...}}`, where detail and params may be missing."""


@dataclass(frozen=True)
class BackgroundServices:
    """What runs beside the requests, and is closed with the server."""

    store: TaskStore
    lock: IO[str]
    dispatcher: Dispatcher
    children: Children
    webhooks: Webhooks


def create_app(
    settings: Settings,
    *,
    clock: Callable[[], datetime] | None = None,
    command: Command | None = None,
    driver: Sequence[str] = DRIVER,
) -> FastAPI:
    """Make the service. Raises `StartError`.

    `clock`: naive UTC. `command`: starts an engine process by engine name; default: `dice_talk.worker`. `driver`:
    starts what connects to a Ray cluster.
    """
    engine = _check_engine(settings)
    keys = _open_keys(settings.api_keys_file)
    gpu = gpu_available()
    pool, pids = _make_slots(settings, command or _worker_command(settings), driver, gpu=gpu)
    services, background = _make_services(settings, keys, clock or Clock(), pool, Metrics(pids), gpu=gpu)
    lifespan = _lifespan(services, background, engine)
    app = FastAPIOffline(title="DICE-Talk API", version=__version__, description=DESCRIPTION, lifespan=lifespan)
    app.state.services = services
    routes.install(app, keys=keys is not None)
    errors.install(app, BOUNDS)
    _add_middleware(app, settings, services.metrics)
    return app


def _make_slots(
    settings: Settings, command: Command, driver: Sequence[str], *, gpu: bool
) -> tuple[SlotPool, Callable[[], list[int]]]:
    """Return the slots, and what returns the ids of the engine processes here. Raises `StartError`."""
    if settings.render_on == "ray":
        if find_spec("ray") is None:
            raise StartError("render_on is ray, but Ray is not installed: ./start_server.sh install ray")
        return RaySlots(settings, command, driver=driver), lambda: []
    engines = EnginePool(command, load_seconds=settings.load_seconds, stall_seconds=settings.stall_seconds)
    return LocalSlots(settings.workers, engines, gpu=gpu), engines.pids


def _make_services(
    settings: Settings,
    keys: KeyFile | None,
    clock: Callable[[], datetime],
    pool: SlotPool,
    metrics: Metrics,
    *,
    gpu: bool,
) -> tuple[Services, BackgroundServices]:
    """Raises `StartError`."""
    store, files, secret, lock = _open_data(settings)
    dispatcher = Dispatcher(store, files, pool, attempts=settings.attempts, clock=clock, metrics=metrics)
    children = Children()
    admission = Admission(settings, store, files, dispatcher, Inspector(children), clock=clock)
    synthesis = Synthesis(settings, store, files, dispatcher, admission, clock=clock, gpu=gpu)
    webhooks = Webhooks(
        store,
        synthesis.status,
        secret,
        networks=settings.callback_allowed,
        seconds=settings.webhook_seconds,
        clock=clock,
        metrics=metrics,
        leading=lambda: dispatcher.leading,
    )
    services = Services(
        settings=settings,
        files=files,
        metrics=metrics,
        access=Access(keys, _rate(settings, store)),
        admission=admission,
        synthesis=synthesis,
        preflight=Preflight(settings, children, synthesis.foresee),
        receipts=Receipts(settings, files, children),
        verification=Verification(store, children),
    )
    return services, BackgroundServices(store, lock, dispatcher, children, webhooks)


def _rate(settings: Settings, store: TaskStore) -> Rate:
    limit = settings.key_requests_per_minute
    return SharedRate(limit, store.allow_requests) if settings.several_servers else OwnRate(limit)


def _open_data(settings: Settings) -> tuple[TaskStore, RenderFiles, bytes, IO[str]]:
    """Return the database, the files, the secret of callbacks and the lock on the data folder. Raises `StartError`."""
    lock = lock_data_folder(settings.data_dir, shared=settings.several_servers and settings.storage_url is None)
    try:
        secret, files = load_secret(settings), open_files(settings)
        store = TaskStore(settings.database_url or sqlite_url(settings.data_dir / "dice_talk.db"))
    except (StoreError, OSError, ValueError) as error:
        lock.close()
        raise StartError(str(error)) from error
    return store, files, secret, lock


def _check_engine(settings: Settings) -> str:
    """Return the engine for requests that say auto. Raises `StartError` if it cannot run or cannot sign."""
    try:
        engine = choose_engine(settings.engine, settings.checkpoints_dir)
        signature.refuse_unusable(settings)
    except EngineUnavailable as error:
        raise StartError(f"{error}. {error.detail}") from error
    except signature.SigningError as error:
        raise StartError(str(error)) from error
    return engine


def _open_keys(file: Path | None) -> KeyFile | None:
    if file is None:
        return None
    try:
        return KeyFile(file)
    except OSError as error:
        raise StartError(
            f"the API keys in {file} cannot be read: {error.strerror}; python -m api.keys add NAME makes one"
        ) from error


def _worker_command(settings: Settings) -> Command:
    flags = flags_of(settings.tuning)
    return lambda engine: [sys.executable, "-m", "dice_talk.worker", engine, str(settings.checkpoints_dir), *flags]


def _lifespan(
    services: Services, background: BackgroundServices, engine: str
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return what starts the background tasks with the server and ends them with it."""
    synthesis, settings, store = services.synthesis, services.settings, background.store

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await _clean_up(services.files, store)
        loop = asyncio.get_running_loop()

        def hear(change: Change | None) -> None:
            loop.call_soon_threadsafe(synthesis.hear, change)

        store.listen(hear)
        leading = asyncio.create_task(lead(background.dispatcher, store.leadership, engine))
        if store.leadership is None:
            await leading
        await background.children.start()
        sweeping = asyncio.create_task(sweep_forever(synthesis, settings.sweep_seconds))
        watching = asyncio.create_task(synthesis.watch())
        delivering = asyncio.create_task(background.webhooks.run())
        announce(settings, engine)
        yield
        sweeping.cancel()
        await synthesis.drain()
        await services.receipts.close()
        for task in (watching, delivering, leading):
            task.cancel()
        await asyncio.wait([delivering, leading])
        await background.children.close()
        await processes.wait_for_starts()
        store.close()
        background.lock.close()

    return lifespan


async def _clean_up(files: RenderFiles, store: TaskStore) -> None:
    """Remove what a crash left behind. If that takes long, it goes on while the service runs, and ends with it."""
    unfinished = {render.id for render in store.unfinished()}

    def clean_up() -> None:
        try:
            files.clean_up(store.render_ids(), unfinished)
        except (OSError, StoreFailure) as error:
            log.error("what a crash may have left behind could not be removed: %s", error)

    thread = threading.Thread(target=clean_up, name="clean-up", daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, CLEAN_UP_S)


def _add_middleware(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """Each one added goes around those before it."""
    app.add_middleware(HeadAsGet)
    app.add_middleware(RelativeRedirects)
    app.add_middleware(RequestLimits)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.known_hosts, www_redirect=False)
    app.add_middleware(LingeringClose)
    app.add_middleware(UnexpectedErrors)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Content-Disposition", "Content-Range", "ETag", "Retry-After", REQUEST_ID],
        )
    app.add_middleware(PlainTextErrors)
    app.add_middleware(SecureHeaders)
    app.add_middleware(RequestLog, metrics=metrics)
    if settings.root_path:
        app.add_middleware(SubPath, root_path=settings.root_path)
    app.add_middleware(ClientAddress, trusted=settings.proxies)


def announce(settings: Settings, engine: str) -> None:
    """Log where the server is, and how to use it."""
    host = "localhost" if settings.host in ("127.0.0.1", "0.0.0.0", "::", "::1") else settings.host  # noqa: S104
    url = f"http://{host}:{settings.port}{settings.root_path}"
    log.info(
        "DICE-Talk Server %s listens on %s, port %d; engine: %s", __version__, settings.host, settings.port, engine
    )
    for refused in REFUSED:
        log.warning("%s", refused)
    if settings.api_keys_file is None and not _is_loopback(settings.host):
        log.warning("Anybody who reaches %s may use this server: no API keys are set (docs/security.md)", settings.host)
    if settings.several_servers and settings.storage_url and not settings.webhook_secret:
        log.warning("Callbacks of another server would be signed otherwise: set webhook_secret (docs/scale.md)")
    log.info("Open it in a browser: %s/ (the API: %s/docs)", url, url)
    key = '-H "Authorization: Bearer YOUR_KEY" ' if settings.api_keys_file is not None else ""
    sent = "-F image=@examples/portrait.jpg -F audio=@examples/speech.wav -F emotion=happy"
    log.info("Or type: curl -X POST %s/api/v1/synthesis/start %s%s", url, key, sent)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
