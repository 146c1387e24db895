"""Several servers on one PostgreSQL database and one data folder or bucket, each a process of its own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.postgres import Postgres
from tests.faults.process import ServerProcess, server_process
from tests.waiting import wait_for


@dataclass
class Cluster:
    """The servers, and the database that they share."""

    folder: Path
    database: Postgres
    url: str
    servers: list[ServerProcess]

    def query(self, sql: str) -> list[Any]:
        """What the database holds, looked at from outside."""
        return self.database.query(sql, self.url.rpartition("/")[2])

    def leader(self, but: ServerProcess | None = None) -> ServerProcess:
        """The server that dispatches, once there is one."""
        return wait_for(
            lambda: next((one for one in self.servers if one is not but and leads(one)), None),
            seconds=20,
        )

    def followers(self) -> list[ServerProcess]:
        leader = self.leader()
        return [one for one in self.servers if one is not leader]


def leads(server: ServerProcess) -> bool:
    """Whether a server that runs said last that it dispatches."""
    if server.process.poll() is not None:
        return False
    words = (server.settings.log_dir / "api.log").read_text().split("\n")
    said = [line for line in words if "dispatches" in line]
    return bool(said) and "this server dispatches from now on" in said[-1]


@contextmanager
def cluster(
    folder: Path, database: Postgres, count: int, kind: str | None = "quick", **settings: Any
) -> Iterator[Cluster]:
    """Run servers that start at the same moment on an empty database. `kind`: as for `server_process`."""
    url = database.create_database()

    def start(number: int) -> ServerProcess:
        own = {"log_dir": folder / f"logs{number}", "output": folder / f"output{number}"}
        if "storage_url" in settings:  # then they share no folder
            own["data_dir"] = folder / f"data{number}"
        return stack.enter_context(server_process(folder, kind, database_url=url, **{**own, **settings}))

    with ExitStack() as stack:
        with ThreadPoolExecutor(count) as pool:
            servers = list(pool.map(start, range(count)))
        yield Cluster(folder, database, url, servers)
