"""The service with another engine process: `python -m tests.faults.server MODULE ARGUMENTS...`."""

import sys

from api import app, server

if __name__ == "__main__":
    app._worker_command = lambda settings: lambda engine: [sys.executable, "-m", *sys.argv[1:]]
    server.main()
