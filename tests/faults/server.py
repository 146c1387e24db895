"""The service with engines of `tests.fake_worker`: `python -m tests.faults.server KIND GATE`."""

import sys

from api import server

if __name__ == "__main__":
    server._worker_command = lambda settings: lambda engine: [sys.executable, "-m", "tests.fake_worker", *sys.argv[1:]]
    server.main()
