"""What the store costs with many tasks in it.

Run: python -m benchmarks.store [--tasks N ...] [--database sqlite postgresql]

Fills a database with finished tasks, most of one owner and some of another, adds a hundred that wait and two that run,
and measures what clients and the service ask. Milliseconds, the median and the 95th percentile; `start` is what opening
the database and taking up its tasks takes, in seconds. PostgreSQL is started in a temporary folder, with its defaults:
every commit is written to disk. Exit code 1 if a promise is broken.
"""

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from api.tasks.forecast import Forecast, Timing, Workload
from api.tasks.model import Render, Task, TaskStatus
from api.tasks.store import Places, TaskStore, sqlite_url
from api.tasks.tables import open_database, renders, tasks
from benchmarks.postgres import postgres
from dice_talk.options import RenderOptions

NOW = datetime(2030, 1, 1, 12)
WAITING, FAILED_SHARE, BOB_SHARE = 100, 50, 10
"""Tasks that wait; one finished task in so many has failed, and one in so many belongs to Bob."""
P95_MS, START_S = 20.0, 3.0
ROUNDS = 100
AT_ONCE, MADE = 20_000, 200_000
"""Rows of one statement, and how many are made one by one: the others are copies of these, made before them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1_000, 200_000, 2_000_000])
    parser.add_argument("--database", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--folder", type=Path, help="where SQLite's file lies; default: a temporary folder")
    arguments = parser.parse_args()
    kept = [measure(kind, count, arguments.folder) for kind in arguments.database for count in arguments.tasks]
    sys.exit(not all(kept))


def measure(kind: str, count: int, folder: Path | None) -> bool:
    """Print the figures of one database. Returns whether the promises are kept."""
    with ExitStack() as stack:
        if kind == "sqlite":
            url: Any = sqlite_url(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder))) / "store.db")
        else:
            url = stack.enter_context(postgres(options=())).create_database()
        began = time.perf_counter()
        fill(url, count)
        print(f"\n{kind}, {count} finished tasks, filled in {time.perf_counter() - began:.0f} s", flush=True)
        print(f"{'':32}{'median':>10}{'p95':>10}")
        starts = sorted(timed(lambda: start(url)) for _ in range(5))
        print(f"{'start, s':32}{starts[2] / 1000:10.2f}{starts[-1] / 1000:10.2f}")
        store = TaskStore(url)
        stack.callback(store.close)
        kept = starts[2] < START_S * 1000
        for name, ask in questions(store, count).items():
            ask()  # the first one prepares statements
            took = sorted(timed(ask) for _ in range(ROUNDS))
            p95 = took[int(0.95 * ROUNDS)]
            print(f"{name:32}{took[ROUNDS // 2]:10.2f}{p95:10.2f}{'' if p95 < P95_MS else '   BROKEN'}", flush=True)
            kept = kept and p95 < P95_MS
        return kept


def start(url: Any) -> None:
    """Do what a start of the service does with the database."""
    store = TaskStore(url)
    store.unfinished()
    bool(store.render_ids())
    store.close()


def questions(store: TaskStore, count: int) -> dict[str, Callable[[], Any]]:
    """Return what is measured, by name."""
    finished, waiting = id_of(min(count, MADE) // 2), store.unfinished()[-1]
    deep = NOW - timedelta(seconds=count // 2), finished
    forecast, numbers = Forecast(), iter(range(count * 2, count * 3))

    def admit() -> None:
        number = next(numbers)
        task = make_task(number, TaskStatus.PENDING, "alice", NOW)
        store.shareable("no such key")
        store.waiting_of("alice")
        store.waiting()
        store.add(task, Places(10**6, 10**6))

    def sweep() -> None:
        gone = store.expired(NOW - timedelta(days=400))
        store.purge(NOW - timedelta(days=400), gone)
        store.forget_labels(NOW - timedelta(days=400), NOW - timedelta(days=400))

    def page(owner: str | None, *statuses: TaskStatus, after: tuple[datetime, str] | None = None) -> Callable[[], Any]:
        return lambda: store.page(owner, statuses, 20, after)

    return {
        "status, finished": lambda: store.snapshot(finished),
        "status, waiting": lambda: store.snapshot(waiting.id),
        "list": page("alice"),
        "list, a page in the middle": page("alice", after=deep),
        "list, COMPLETED": page("alice", TaskStatus.COMPLETED),
        "list, FAILED, in the middle": page("alice", TaskStatus.FAILED, after=deep),
        "list, PENDING": page("alice", TaskStatus.PENDING),
        "list, PROCESSING": page("alice", TaskStatus.PROCESSING),
        "list, PROCESSING of nobody": page(None, TaskStatus.PROCESSING),
        "list, FAILED or PENDING": page("alice", TaskStatus.FAILED, TaskStatus.PENDING),
        "list of a smaller owner": page("bob"),
        "admission": admit,
        "sweep": sweep,
        "callbacks that are due": lambda: store.callbacks_due(NOW, 32),
        "forecast": lambda: forecast.renew(store.unfinished(), store.timings(), 2, NOW),
    }


def timed(call: Callable[[], Any]) -> float:
    """Return the milliseconds that a call takes."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def id_of(number: int) -> str:
    return str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128))


def make_task(number: int, status: TaskStatus, owner: str, born: datetime) -> Task:
    render = Render(
        id_of(number), RenderOptions(emotion="sad", seed=5), "lite", f"key {number}", 8.0, born, born, status=status
    )
    if status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
        result = {"width": 256, "height": 256, "fps": 24, "frames": 192, "seconds": 8.0, "versions": {"python": "3"}}
        render = replace(render, progress=1.0, attempts=1, started_at=born, finished_at=born, result=result)
    return Task(render.id, born, render, owner)


def rows(count: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield rows of renders and tasks: one a second, the newest last."""
    done, failed = (make_task(0, status, "alice", NOW) for status in (TaskStatus.COMPLETED, TaskStatus.FAILED))
    patterns = [(row_of(renders, one.render), row_of(tasks, one)) for one in (done, failed)]
    for number in range(count):
        render, task = patterns[number % FAILED_SHARE == 0]
        born, name = NOW - timedelta(seconds=count - number), id_of(number)
        times = {"created_at": born, "updated_at": born, "started_at": born, "finished_at": born}
        owner = "bob" if number % BOB_SHARE == 0 else "alice"
        ended = {"ended": render["status"], "render_id": name, "id": name, "created_at": born, "owner": owner}
        yield render | times | {"id": name, "cache_key": f"key {number}"}, task | ended


def row_of(table: sa.Table, thing: Any) -> dict[str, Any]:
    names = [column.name for column in table.c if column.name != "number"]
    row: dict[str, Any] = {name: getattr(thing, name, None) for name in names}
    documents = {name: row[name].model_dump(mode="json") for name in ("options", "labels") if name in row}
    return row | documents | ({"status": row["status"].value} if "status" in row else {})


def copied(kind: str, table: sa.Table, copy: int, seconds: int) -> Any:
    """Return a statement that copies the rows of the first copy, as made so many seconds earlier."""
    values: dict[str, Any] = {}
    for column in table.c:
        values[column.name] = column
        if column.name in ("id", "render_id", "cache_key"):
            values[column.name] = sa.literal_column(f"'{copy}-'").concat(column)
        elif isinstance(column.type, sa.DateTime) and kind == "sqlite":
            values[column.name] = sa.func.strftime("%Y-%m-%d %H:%M:%S.000000", column, f"-{seconds} seconds")
        elif isinstance(column.type, sa.DateTime):
            values[column.name] = column - sa.text(f"interval '{seconds} seconds'")
    values.pop("number", None)
    rows = sa.select(*values.values()).where(table.c.created_at > NOW - timedelta(seconds=MADE + 1))
    return table.insert().from_select(list(values), rows)


def fill(url: Any, count: int) -> None:
    """Fill an empty database."""
    database, made = open_database(url), min(count, MADE)
    everything = rows(made)
    while some := list(islice(everything, AT_ONCE)):
        with database.begin() as db:
            db.execute(renders.insert(), [render for render, _ in some])
            db.execute(tasks.insert(), [task for _, task in some])
    for copy in range(1, count // made):
        with database.begin() as db:
            db.exec_driver_sql("SET LOCAL statement_timeout = 0" if database.name == "postgresql" else "SELECT 1")
            for table in (renders, tasks):
                db.execute(copied(database.name, table, copy, made * copy))
    database.dispose()
    store = TaskStore(url)
    for number in range(WAITING + 2):
        task = make_task(count + number, TaskStatus.PENDING, "alice", NOW)
        store.add(replace(task, callback_url="https://example.org/"))
        if number < 2:
            store.update(task.render.id, TaskStatus.PROCESSING)
    for number in range(200):
        store.add_timing(Timing(Workload("lite", 256 * 256, 100 + number, 1), 2.0))
    if not str(url).startswith("sqlite"):
        with store._db.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.exec_driver_sql("SET statement_timeout = 0")
            db.exec_driver_sql("VACUUM ANALYZE")  # as PostgreSQL does by itself within minutes
    store.close()


if __name__ == "__main__":
    main()
