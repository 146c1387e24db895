"""More connections than a shell's usual limit on open files lets a program have."""

import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from tests.faults.process import server_process

SOFT, HARD, CONNECTIONS = 64, 1024, 300


def test_idle_connections_keep_nobody_out(tmp_path: Path, portrait: Path, speech: Path) -> None:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))

    with server_process(tmp_path, "quick", preexec_fn=few_files) as service, ExitStack() as stack:
        address = urlsplit(service.url)
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=60))
        assert service.wait(service.submit(portrait, speech))["status"] == "COMPLETED"
        assert "out of system resource" not in (tmp_path / "output").read_text()
        assert service.terminate() == 0
