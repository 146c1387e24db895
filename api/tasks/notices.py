"""How servers on one PostgreSQL database hear of what the others write: NOTIFY and LISTEN."""

import json
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from time import monotonic
from typing import Any

import sqlalchemy as sa

log = logging.getLogger(__name__)

CHANNEL = "dice_talk"
CHECK_S, FRESH_S, AGAIN_S = 0.25, 1.0, 1.0
"""How often the connection is tried; for how long what was heard over it counts; when a lost one is made again."""


@dataclass(frozen=True)
class Change:
    """A write to a render, and perhaps to one of its tasks."""

    render_id: str
    status: str  # of the render
    number: int | None = None  # of a new render that waits
    task_id: str | None = None  # of a task that was cancelled or removed
    unwanted: bool = False  # whether the render was ended because no task claims it any more
    removed: bool = False  # whether it lost a task that was removed


Hear = Callable[[Change | None], None]
"""Called for each change that another server made; with None if any number may have been missed."""


class Notices:
    """Tells other servers, and hears from them in a thread of its own."""

    def __init__(self, database: sa.Engine) -> None:
        self._db, self._name = database, secrets.token_hex(4)
        self._heard_at = -FRESH_S
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def tell(self, db: sa.Connection, change: Change | None) -> None:
        """Tell of a change when the transaction is committed. None: of many."""
        said = json.dumps({"from": self._name, "change": asdict(change) if change else None})
        db.execute(sa.select(sa.func.pg_notify(CHANNEL, said)))

    @property
    def fresh(self) -> bool:
        """Whether nothing that is older than a second can have been missed."""
        return monotonic() - self._heard_at < FRESH_S

    def listen(self, hear: Hear) -> None:
        """Begin to call `hear`, in a thread."""
        self._thread = threading.Thread(target=self._listen, args=(hear,), name="notices", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        if self._thread:
            self._thread.join()

    def _listen(self, hear: Hear) -> None:
        broken = False
        while not self._closed.is_set():
            try:
                with self._db.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
                    self._follow(db, hear)
            except (sa.exc.SQLAlchemyError, self._db.dialect.loaded_dbapi.Error) as error:
                if not broken:
                    log.error("nothing is heard of other servers until the database answers: %s", error)
                broken = True
                self._closed.wait(AGAIN_S)
            except Exception:
                log.exception("what other servers said could not be followed")
                self._closed.wait(AGAIN_S)

    def _follow(self, db: sa.Connection, hear: Hear) -> None:
        driver: Any = db.connection.driver_connection
        try:
            db.exec_driver_sql(f"LISTEN {CHANNEL}")
            hear(None)
            while not self._closed.is_set():
                asked_at = monotonic()
                db.exec_driver_sql("SELECT 1")  # what was told before comes before the answer
                for notice in driver.notifies(timeout=CHECK_S):
                    self._on_notice(notice.payload, hear)
                self._heard_at = asked_at
        finally:
            db.invalidate()  # the pool would pass on a connection that listens

    def _on_notice(self, said: str, hear: Hear) -> None:
        notice = json.loads(said)
        if notice["from"] == self._name:
            return
        change = notice["change"]
        known = {one.name: change[one.name] for one in fields(Change) if one.name in change} if change else None
        hear(Change(**known) if known else None)
