"""What is special about PostgreSQL: how it is connected to, and the locks that all servers on a database share."""

from enum import IntEnum
from typing import Any

import sqlalchemy as sa

OLDEST = (14,)
"""The first version that ends sessions that say nothing."""
CONNECT_S, STATEMENT_S, IDLE_S, DEAD_S = 5, 15, 4, 10
"""How long a connection may take to be made; how long a statement may take; how long a server that hangs may keep its
locks; and after how long a silent network counts as broken."""
CONNECTIONS, POOL_WAIT_S = (10, 20), 5
"""Connections that are kept and those added under load, for each server, and how long a request waits for one."""
KEYS = 0x44_54_4B
"""The first number of all our locks, so that they are not those of another program in the same database."""


class Lock(IntEnum):
    """Locks of the whole database."""

    SCHEMA = 1  # while tables are made or migrated
    DISPATCHING = 2  # as long as a server dispatches
    ADMISSION = 3  # while it is decided whether there is room for a task, and while claims end


def options_for(url: sa.URL) -> dict[str, Any]:
    """Return the arguments of `create_engine`. Raises `ValueError`."""
    if "@" in (url.host or ""):  # what is left of the password would be shown as the name of a host
        raise ValueError("write an @ within the user's name or the password as %40")
    own = url.query.get("options", "")
    options = [f"-c statement_timeout={STATEMENT_S}s", f"-c idle_in_transaction_session_timeout={IDLE_S}s"]
    kept, more = CONNECTIONS
    return {
        "pool_pre_ping": True,  # a connection that was cut is noticed before it is used
        "pool_size": kept,
        "max_overflow": more,
        "pool_timeout": POOL_WAIT_S,
        "connect_args": {
            "connect_timeout": CONNECT_S,
            "application_name": "dice_talk",
            "options": " ".join([*([own] if isinstance(own, str) else own), *options]),
            "keepalives_idle": IDLE_S,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": DEAD_S * 1000,
        },
    }


def prepare_alone(db: sa.Connection) -> None:
    """Let no other server make or migrate tables until the transaction ends, which may take long."""
    db.execute(sa.text("SET LOCAL statement_timeout = 0"))
    db.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    hold(db, Lock.SCHEMA)


def hold(db: sa.Connection, lock: Lock) -> None:
    """Wait for a lock, and hold it until the transaction ends."""
    db.execute(sa.select(sa.func.pg_advisory_xact_lock(KEYS, int(lock))))


def try_to_hold(session: sa.Connection, lock: Lock) -> bool:
    """Take a lock until the connection ends. Returns False if another one has it."""
    return bool(session.scalar(sa.select(sa.func.pg_try_advisory_lock(KEYS, int(lock)))))
