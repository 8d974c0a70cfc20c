"""What an error says about the database: gone for everybody, or this statement's own fault."""

from __future__ import annotations

import psycopg2
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

GONE_CLASSES = ("08", "53", "57P", "25P03", "25006")
"""SQLSTATE: connection lost, resources used up, server going away, this session idled out, standby.

Source: https://www.postgresql.org/docs/18/errcodes-appendix.html
"""


IN_THE_WAY = ("55P03", "40P01")
"""SQLSTATE: a lock was not granted in time; or never would have been, because two waited for each other."""


def in_the_way(error: BaseException) -> bool:
    """Whether somebody else had locked what a transaction needs: another time it may go through."""
    return getattr(getattr(error, "orig", error), "pgcode", None) in IN_THE_WAY


def database_gone(error: BaseException) -> bool:
    """Whether the database, not the job, is why a transaction did not commit (or may have, unheard)."""
    if isinstance(error, PoolTimeoutError | UnheardError):
        return True
    invalidated = isinstance(error, DBAPIError) and error.connection_invalidated
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg2.Error):
        return invalidated
    code = cause.pgcode
    lost = code is None and isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError)
    return invalidated or lost or (code or "").startswith(GONE_CLASSES)


class UnheardError(Exception):
    """A COMMIT was sent, and the database was gone before it answered: done or not, nobody can say yet."""


def reply_lost(said: str) -> Exception:
    """The error of a COMMIT that PostgreSQL has done, though its answer never came."""
    return OperationalError("COMMIT", None, psycopg2.OperationalError(said))
