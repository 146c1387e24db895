"""Wires the service together and runs it: `python -m api.server`."""

import asyncio
import errno
import fcntl
import gc
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import IO

import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from pydantic import ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api import control, errors, logs, media, processes, routes
from api.access import Access
from api.children import Children
from api.clock import Clock
from api.dispatcher import Dispatcher
from api.engines import Command, EnginePool
from api.keys import KeyFile
from api.logs import RequestLog
from api.metrics import Metrics
from api.middleware import (
    ErrorForm,
    HeadAsGet,
    LastResort,
    LingeringClose,
    RelativeRedirects,
    RequestLimits,
    SecureHeaders,
)
from api.preflight import Preflight
from api.protocol import Http
from api.proxies import ClientAddress, SubPath
from api.receipts import Receipts
from api.schemas import BOUNDS
from api.service import Synthesis
from api.settings import Settings
from api.storage import clear_leftovers, render_folder, storage_problem
from api.store import StoreError, TaskStore, sqlite_url
from api.sweeper import sweep_forever
from api.verification import Verification
from api.webhooks import Webhooks, load_secret
from dice_talk import __version__
from dice_talk.device import gpu_available
from dice_talk.engine import Tuning, choose_engine
from dice_talk.errors import EngineUnavailable
from dice_talk.labels import signature
from dice_talk.worker import flags_of

log = logging.getLogger("api.server")  # also when run as __main__

OTHER_VARIABLES = {"DICE_TALK_CONFIG", "DICE_TALK_SERVER", "DICE_TALK_API_KEY", "DICE_TALK_PARITY_DIR"}
"""Of the same family, but read elsewhere."""
GRACEFUL_S = 5
"""How long connections may go on after SIGTERM."""
DESCRIPTION = """Turns one portrait, one speech recording and one of eight emotions into a talking-head MP4.

Start a task, ask for its status every few seconds, download the video when it is COMPLETED. Every error has the body
`{"error": "...", "detail": "..."}`, where detail may be missing."""


class StartError(Exception):
    """The service cannot start; the message is one line for the operator."""


def create_app(
    settings: Settings, *, clock: Callable[[], datetime] | None = None, command: Command | None = None
) -> FastAPI:
    """The one place where objects are wired. Raises `StartError`.

    `clock`: naive UTC. `command`: starts an engine process by engine name; default: `dice_talk.worker`.
    """
    clock = clock or Clock()
    try:
        engine = choose_engine(settings.engine, settings.checkpoints_dir)
    except EngineUnavailable as error:
        raise StartError(f"{error}. {error.detail}") from error
    try:
        signature.refuse_unusable(settings)
    except signature.SigningError as error:
        raise StartError(str(error)) from error
    keys = _open_keys(settings.api_keys_file)
    lock = _claim(settings.data_dir)
    try:
        secret = load_secret(settings)
        store = TaskStore(settings.database_url or sqlite_url(settings.data_dir / "dice_talk.db"))
    except (StoreError, OSError, ValueError) as error:
        lock.close()
        raise StartError(str(error)) from error
    engines = EnginePool(
        command or _worker_command(settings), load_seconds=settings.load_seconds, stall_seconds=settings.stall_seconds
    )
    metrics = Metrics()
    dispatcher = Dispatcher(
        store,
        engines,
        lambda render_id: render_folder(settings, render_id),
        lambda: storage_problem(settings),
        slots=settings.workers,
        queue_size=settings.queue_size,
        attempts=settings.attempts,
        clock=clock,
        metrics=metrics,
    )
    children = Children()
    synthesis = Synthesis(settings, store, dispatcher, children, clock=clock, gpu=gpu_available())
    webhooks = Webhooks(
        store,
        synthesis.status,
        secret,
        networks=settings.callback_allowed,
        seconds=settings.webhook_seconds,
        clock=clock,
        metrics=metrics,
    )

    receipts = Receipts(settings, children)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        clear_leftovers(settings, store)
        await dispatcher.start(engine)
        await children.start()
        sweeping = asyncio.create_task(sweep_forever(synthesis, settings.sweep_seconds))
        watching = asyncio.create_task(synthesis.watch())
        delivering = asyncio.create_task(webhooks.run())
        _announce(settings, engine)
        yield
        sweeping.cancel()
        await synthesis.drain()
        await receipts.close()
        watching.cancel()
        delivering.cancel()
        await asyncio.wait([delivering])
        await children.close()
        await processes.settled()
        store.close()
        lock.close()

    app = FastAPIOffline(title="DICE-Talk API", version=__version__, description=DESCRIPTION, lifespan=lifespan)
    app.state.synthesis, app.state.metrics = synthesis, metrics
    app.state.access = Access(keys, settings.key_requests_per_minute)
    app.state.preflight, app.state.receipts = Preflight(settings, children, synthesis.foresee), receipts
    app.state.verification = Verification(store, children)
    routes.install(app, [control.calls, media.uploads, media.videos, media.tasks], keys=keys is not None)
    errors.install(app, BOUNDS)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RelativeRedirects)  # each one added goes around those before it
    app.add_middleware(RequestLimits)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.known_hosts, www_redirect=False)
    app.add_middleware(LingeringClose)
    app.add_middleware(LastResort)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Content-Disposition", "Content-Range", "ETag", "Retry-After", logs.REQUEST_ID],
        )
    app.add_middleware(ErrorForm)
    app.add_middleware(SecureHeaders)
    app.add_middleware(RequestLog, metrics=metrics)
    _expect_proxies(app, settings)
    return app


def _expect_proxies(app: FastAPI, settings: Settings) -> None:
    if settings.root_path:
        app.add_middleware(SubPath, root_path=settings.root_path)
    app.add_middleware(ClientAddress, trusted=settings.proxies)


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
    flags = flags_of(Tuning(compiled=settings.compile, all_gpus=settings.all_gpus))
    return lambda engine: [sys.executable, "-m", "dice_talk.worker", engine, str(settings.checkpoints_dir), *flags]


def _claim(data_dir: Path) -> IO[str]:
    """Holds the data folder until closed: two servers in one folder would remove each other's files."""
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        data_dir.mkdir(mode=0o700, exist_ok=True)  # portraits and voices are no other user's business
        (data_dir / "tasks").mkdir(exist_ok=True)
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"the data folder {data_dir} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StartError(f"another server uses the data folder {data_dir}; set DICE_TALK_DATA_DIR") from error
    return lock


def _announce(settings: Settings, engine: str) -> None:
    host = "localhost" if settings.host in ("127.0.0.1", "0.0.0.0", "::", "::1") else settings.host  # noqa: S104
    url = f"http://{host}:{settings.port}{settings.root_path}"
    log.info(
        "DICE-Talk Server %s listens on %s, port %d; engine: %s", __version__, settings.host, settings.port, engine
    )
    if settings.api_keys_file is None and not _is_loopback(settings.host):
        log.warning("Whoever reaches %s may use this server: no API keys are set, see docs/security.md", settings.host)
    log.info("Open it in a browser: %s/ (the API: %s/docs)", url, url)
    key = '-H "Authorization: Bearer YOUR_KEY" ' if settings.api_keys_file is not None else ""
    sent = "-F image=@examples/portrait.jpg -F audio=@examples/speech.wav -F emotion=happy"
    log.info("Or type: curl -X POST %s/api/v1/synthesis/start %s%s", url, key, sent)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def configure_logging(settings: Settings) -> None:
    """See `logs.configure`. Raises `StartError`."""
    try:
        logs.configure(settings)
    except OSError as error:
        raise StartError(f"the log folder {settings.log_dir} cannot be used: {error.strerror}") from error


def load_settings() -> Settings:
    """From `config.toml` and the environment. Raises `StartError` that names what is wrong."""
    try:
        settings = Settings()
    except ValidationError as error:
        reasons = [
            f"there is no setting {item['loc'][0]}"
            if item["type"] == "extra_forbidden"
            else f"{item['loc'][0]}: {item['msg']}"
            for item in error.errors()
        ]
        raise StartError(f"wrong setting: {'; '.join(reasons)}") from error
    except ValueError as error:
        raise StartError(f"the settings file cannot be read: {error}") from error
    known = {f"DICE_TALK_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    unknown = sorted(name for name in os.environ if name.startswith("DICE_TALK_") and name not in known)
    if unknown:
        raise StartError(f"there is no setting {', '.join(unknown)}; config.toml lists all")
    return settings


def _listen(settings: Settings) -> socket.socket:
    """A bound socket, so that a busy port is found before anything is loaded."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY; without it, each answer on a kept connection takes 40 ms more.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        wrong = "port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "host"
        raise StartError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
            f"Choose another {wrong} with DICE_TALK_{wrong.upper()} or in config.toml"
        ) from error
    return listener


class Server(uvicorn.Server):
    """Goes on answering while running tasks are given time to end: uvicorn itself closes the door first."""

    def __init__(self, config: uvicorn.Config, synthesis: Synthesis, receipts: Receipts) -> None:
        super().__init__(config)
        self._synthesis, self._receipts = synthesis, receipts

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called for each signal; the second one is impatient."""
        self._synthesis.stop()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called once `handle_exit` was."""
        log.info(
            "Shutting down: running tasks may go on for %g s, what is left goes on at the next start; Ctrl-C to hurry",
            self._synthesis.settings.shutdown_seconds,
        )
        await self._synthesis.drain()
        await self._receipts.close()  # clients that wait for one would keep the server waiting
        await super().shutdown(sockets)


def _allow_many_connections() -> None:
    """As many open files as the system grants: shells and service managers often start programs with 1024 of them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says that there is no limit, and then has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def http_server(app: FastAPI) -> uvicorn.Server:
    """What serves an app made by `create_app`."""
    config = uvicorn.Config(
        app,
        http=Http,
        ws="none",
        log_config=None,
        access_log=False,  # see `logs.RequestLog`
        timeout_graceful_shutdown=GRACEFUL_S,
        server_header=False,
        proxy_headers=False,  # see `proxies.ClientAddress`
    )
    return Server(config, app.state.synthesis, app.state.receipts)


def main() -> None:
    """Runs the service until SIGTERM, SIGINT or the terminal's end. Exit code 1 when it cannot start."""
    try:
        settings = load_settings()
        listener = _listen(settings)
        configure_logging(settings)
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        app = create_app(settings)
    except StartError as error:
        sys.exit(f"DICE-Talk Server cannot start: {error}")
    _allow_many_connections()
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # uvicorn raises them once more after its clean end: that is no failure
        signal.signal(number, lambda *_: None)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    # What is loaded by now stays for good. Without this, the collector looks through all of it now and then, which
    # takes 60 ms in which nobody is answered.
    gc.collect()
    gc.freeze()
    http_server(app).run(sockets=[listener])


if __name__ == "__main__":
    main()
