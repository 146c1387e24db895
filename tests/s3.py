"""An S3 server as a process of its own: moto's, on 127.0.0.1. What it holds is gone when it ends."""

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import requests

from benchmarks.serving import free_port
from tests.waiting import wait_for


@dataclass
class S3Server:
    """A running server, behind a relay that can be closed: whoever connects then is refused."""

    process: subprocess.Popen[bytes]
    port: int
    relay: "Relay"
    variables: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.variables = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.relay.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-see",
            "AWS_REGION": "us-east-1",
        }

    def new_bucket(self) -> str:
        """The address of a new bucket."""
        name = f"b{uuid.uuid4().hex[:12]}"
        requests.put(f"http://127.0.0.1:{self.port}/{name}", timeout=20).raise_for_status()
        return f"s3://{name}/videos"

    def freeze(self) -> None:
        """Connections are taken, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class Relay:
    """Passes connections on to another port of this machine, or refuses them."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self.bytes_in = self.bytes_out = self.requests = 0
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Refuse connections, and cut off those that are open."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits there
        self._listener.close()
        self._accepting.join()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def reopen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._open |= {near, far}
            for source, sink, inwards in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pass_on, args=(source, sink, inwards), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, inwards: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
                if inwards:
                    self.bytes_in += len(data)
                    self.requests += data.count(b" HTTP/1.1\r\n")
                else:
                    self.bytes_out += len(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()
        self._open.discard(source)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | {"MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(1 << 30)},  # in memory
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: process.poll() is not None or _answers(port), 60)
        assert process.poll() is None
        relay = Relay(port)
        yield S3Server(process, port, relay)
        relay.close()
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"http://127.0.0.1:{port}/", timeout=5).ok
    return False
