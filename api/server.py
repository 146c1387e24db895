"""Runs the service: `python -m api.server`."""

import errno
import gc
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api import logs
from api.app import create_app
from api.http.protocol import Http
from api.http.services import Services
from api.settings import Settings, StartError, load_settings

log = logging.getLogger("api.server")  # also when run as __main__

GRACEFUL_S = 5
"""How long connections may go on after SIGTERM."""


def configure_logging(settings: Settings) -> None:
    """Set up the log. Raises `StartError`."""
    try:
        logs.configure(settings)
    except OSError as error:
        raise StartError(f"the log folder {settings.log_dir} cannot be used: {error.strerror}") from error


def _listen(settings: Settings) -> socket.socket:
    """Return a bound socket, so that a busy port is found before anything is loaded."""
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
    """Goes on answering while running tasks are given time to end. uvicorn itself would close the port first."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal. A second one ends the time that running tasks are given."""
        self._services.synthesis.stop()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down after a signal."""
        log.info(
            "Shutting down: tasks have %g s to finish, unfinished ones continue at the next start; Ctrl-C to stop now",
            self._services.settings.shutdown_seconds,
        )
        await self._services.synthesis.drain()
        await self._services.receipts.close()  # clients that wait for one would keep the server waiting
        await super().shutdown(sockets)


def _allow_many_connections() -> None:
    """Raise the limit of open files as far as allowed: shells and service managers often set it to 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says that there is no limit, and then has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def http_server(app: FastAPI) -> uvicorn.Server:
    """Return the server for an app made by `create_app`."""
    config = uvicorn.Config(
        app,
        http=Http,
        ws="none",
        log_config=None,
        access_log=False,  # see `request_log.RequestLog`
        timeout_graceful_shutdown=GRACEFUL_S,
        server_header=False,
        proxy_headers=False,  # see `proxies.ClientAddress`
    )
    return Server(config, app.state.services)


def main() -> None:
    """Run the service until SIGTERM, SIGINT or the terminal's end. Exit code 1 if it cannot start."""
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
