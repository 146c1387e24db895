"""The service with another engine process: `python -m tests.faults.server MODULE ARGUMENTS...`."""

import sys

from api import server

if __name__ == "__main__":
    server._worker_command = lambda settings: lambda engine: [sys.executable, "-m", *sys.argv[1:]]
    server.main()
