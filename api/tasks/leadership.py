"""Which of the servers on one PostgreSQL database dispatches.

The one whose connection holds a lock. PostgreSQL releases it when the connection ends: at once when the process does,
and after `IDLE_S` when it hangs, because it is then no longer heard of. Each change of hands begins a new term, and a
server states its term with all that it writes about renders: what it says after its term is over changes nothing.
"""

import logging
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from api.tasks.postgres import IDLE_S, Lock, try_to_hold
from api.tasks.tables import dispatching, slot_reports

log = logging.getLogger(__name__)

REPORT_S = 15.0
"""Reports of slots that are older than this no longer count. Another server takes over within 10 s."""
_ROW = 1


class Superseded(Exception):
    """Another server dispatches now."""


@dataclass(frozen=True)
class SlotReport:
    """What the dispatching server says of its slots."""

    slots: int
    busy: int
    ready: list[str] = field(default_factory=list)  # engines whose models are in memory
    broken: str | None = None  # why no slot can render
    nodes: dict[str, list[int]] = field(default_factory=dict)  # by name: slots, and how many are busy
    gpu: bool = False  # whether any of them computes on a GPU
    lack: str | None = None  # why there are no slots, or may be none soon
    reachable: bool = True  # whether more can come


NOBODY = SlotReport(0, 0, [], "No server gives out tasks at present; they wait")


class Leadership:
    """One server's part in it."""

    def __init__(self, database: sa.Engine) -> None:
        self.term: int | None = None  # the last one of this server
        self._db = database
        self._session: sa.Connection | None = None
        self._held = False

    def campaign(self, report: SlotReport) -> int | None:
        """Try to lead, or go on: called once a second. Returns the term, or None if another server leads.

        Who leads says what its slots do. A server that has lost its connection, and with it the lock, goes on as long
        as nobody has begun another term. Raises `StoreFailure`.
        """
        try:
            if self._session is None:
                self._session = self._open()
            if not self._held:
                self._held = try_to_hold(self._session, Lock.DISPATCHING)
                if self._held:
                    self._begin(self._session)
            if self._held:
                self._report(self._session, report)
            elif self._session.scalar(sa.select(dispatching.c.term)) != self.term:
                return None
        except sa.exc.SQLAlchemyError:
            self.release()
            raise
        return self.term

    def release(self) -> None:
        """Let another server lead."""
        session, self._session, self._held = self._session, None, False
        if session is not None:
            with suppress(sa.exc.SQLAlchemyError):
                session.invalidate()  # ends the connection, and with it the lock
            session.close()

    def _open(self) -> sa.Connection:
        session = self._db.connect().execution_options(isolation_level="AUTOCOMMIT")
        session.execute(sa.text(f"SET idle_session_timeout = '{IDLE_S}s'"))
        return session

    def _begin(self, session: sa.Connection) -> None:
        """Begin a term, unless nobody has led since this server did."""
        session.execute(insert(dispatching).values(id=_ROW, term=0).on_conflict_do_nothing())
        if session.scalar(sa.select(dispatching.c.term)) != self.term:
            # Waits for what is being written in the term before.
            change = dispatching.update().values(term=dispatching.c.term + 1).returning(dispatching.c.term)
            self.term = session.scalar(change)

    def _report(self, session: sa.Connection, report: SlotReport) -> None:
        row = {"said": asdict(report), "said_at": sa.func.clock_timestamp()}
        session.execute(
            insert(slot_reports).values(id=_ROW, **row).on_conflict_do_update(index_elements=["id"], set_=row)
        )


def refuse_when_superseded(db: sa.Connection, term: int) -> None:
    """Make sure that no other term begins before the transaction is committed. Raises `Superseded`."""
    if db.scalar(sa.select(dispatching.c.term).with_for_update(read=True)) != term:
        raise Superseded


def last_report(db: sa.Connection) -> SlotReport:
    """Return what the dispatching server last said of its slots."""
    row = db.execute(sa.select(slot_reports.c.said, slot_reports.c.said_at, sa.func.clock_timestamp())).one_or_none()
    if row is None:
        return NOBODY
    said, said_at, now = row
    known = {one.name: said[one.name] for one in fields(SlotReport) if one.name in said}
    return SlotReport(**known) if (now - said_at).total_seconds() < REPORT_S else NOBODY
