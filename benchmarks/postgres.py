"""A PostgreSQL server of one's own, in a temporary folder: for measurements and for tests.

It listens on 127.0.0.1 only. PostgreSQL refuses to run as root, so root starts it as another user.
"""

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.serving import free_port

USERS = ("postgres", "nobody")
"""Who root starts it as: the first of them that there is."""
OWNER = "dice_talk"
PR_SET_PDEATHSIG = 1
CAREFREE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""For tests, which never cut the machine's power."""


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest if there are several."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    program = str(found[-1]) if found else shutil.which("initdb")
    return Path(program).parent if program else None


@dataclass
class Postgres:
    """A server that runs, or was stopped for a while."""

    folder: Path
    port: int
    password: str
    options: Sequence[str]
    process: subprocess.Popen[bytes] = field(init=False)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://{OWNER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"db_{secrets.token_hex(6)}"
        self.query(f"CREATE DATABASE {name}")
        return self.url(name)

    def query(self, sql: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the database's owner, outside of transactions."""
        import psycopg

        with psycopg.connect(self.url(database).replace("+psycopg", ""), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def cut_connections(self) -> None:
        """End every connection but this one, as an operator or a broken network does."""
        self.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    def start(self) -> None:
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300", *self.options)
        command = [_program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        command += [word for setting in settings for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=_end_with_parent, **_as_other_user()
            )
        ready = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if self.process.poll() is not None:
                raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once; its clients are disconnected."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


@contextmanager
def postgres(options: Sequence[str] = CAREFREE) -> Iterator[Postgres]:
    """Run a new server until the context ends, and remove it. `options`: settings, as NAME=VALUE."""
    with tempfile.TemporaryDirectory(prefix="dice-talk-postgres-", ignore_cleanup_errors=True) as name:
        folder, other = Path(name), _as_other_user()
        if other:
            os.chown(folder, other["user"], other["group"])
        server = Postgres(folder, free_port(), secrets.token_hex(16), options)
        (folder / "password").write_text(server.password)
        (folder / "password").chmod(0o644)  # the folder itself is private
        command = [_program("initdb"), "-D", str(folder / "data"), "-U", OWNER, "-A", "scram-sha-256"]
        command += [f"--pwfile={folder / 'password'}", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **other)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _program(name: str) -> str:
    folder = programs()
    if folder is None:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    return str(folder / name)


def _end_with_parent() -> None:
    """Let the server stop if this process is killed. Other systems than Linux would have to be told otherwise."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _as_other_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = next(known[name] for name in USERS if name in known)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
