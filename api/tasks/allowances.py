"""How several servers together keep to a key's limit of requests a minute.

To count every request in the database would cost more than most requests do. A server is therefore allowed several at
once, which count from then on; those that it does not use in time are lost, so the limit is never exceeded by more than
what the servers hold.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from api.tasks.postgres import KEYS
from api.tasks.tables import allowances

WINDOW_S = 60


@dataclass(frozen=True)
class Allowance:
    """Requests that may be admitted; if none, in how many seconds there may be more."""

    requests: int
    wait_s: float


def allow(db: sa.Connection, owner: str, most: int, per_minute: int) -> Allowance:
    """Allow up to `most` requests, within the limit of all servers together."""
    db.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(owner, KEYS))))
    age = sa.extract("epoch", sa.func.clock_timestamp() - allowances.c.given_at)
    mine = allowances.c.owner == owner
    db.execute(allowances.delete().where(mine, age >= WINDOW_S))
    given, oldest = db.execute(sa.select(sa.func.sum(allowances.c.requests), sa.func.max(age)).where(mine)).one()
    requests = min(most, per_minute - int(given or 0))
    if requests <= 0:
        return Allowance(0, WINDOW_S - float(oldest))
    row = {"owner": owner, "requests": requests, "given_at": sa.func.clock_timestamp()}
    db.execute(allowances.insert().values(row))
    return Allowance(requests, 0.0)
