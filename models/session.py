"""Engines: how processes reach PostgreSQL. Made by entry points from Settings, never at import."""

from __future__ import annotations

from typing import Any

import orjson
import psycopg2
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

Sessions = sessionmaker[Session]

DATABASE_ERRORS = (DBAPIError, PoolTimeoutError)
"""What asking PostgreSQL may raise: its refusal, a lost connection, or that there was none to be had."""

NETWORK = {
    "connect_timeout": 2,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
}
"""How soon a server that answers no more is given up: seconds, but `tcp_user_timeout` in milliseconds.

Source: https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""


def writer(url: str, *, lease_seconds: float, connections: int = 2) -> Sessions:
    """Sessions for workers. Their time limits stay below the lease, so that a stuck transaction ends before
    another worker may take its jobs over (DESIGN.md §3). `connections`: that are kept; as many again in bursts."""
    limits = {
        "lock_timeout": lease_seconds * 0.4,
        "idle_in_transaction_session_timeout": lease_seconds * 0.6,
        "statement_timeout": lease_seconds * 0.8,
    }
    options = " ".join(f"-c {name}={int(seconds * 1000)}" for name, seconds in limits.items())
    return _sessions(_engine(url, options, application_name="millrace-worker", pool_size=connections))


def reader(url: str) -> Sessions:
    """Sessions for the API: they cannot write, whatever the role may."""
    options = "-c default_transaction_read_only=on -c statement_timeout=5000"
    return _sessions(_engine(url, options, application_name="millrace-api", pool_size=10, isolation_level="AUTOCOMMIT"))


def _engine(
    url: str, options: str, *, application_name: str, pool_size: int, isolation_level: str | None = None
) -> Engine:
    more = {"isolation_level": isolation_level} if isolation_level else {}
    engine = create_engine(
        psycopg2_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=2,
        pool_recycle=1800,
        hide_parameters=True,
        json_deserializer=orjson.loads,
        connect_args={"options": f"{options} -c timezone=UTC", "application_name": application_name, **NETWORK},
        **more,
    )
    event.listen(engine, "checkout", _refuse_if_ended)
    return engine


def _refuse_if_ended(connection: Any, record: object, proxy: object) -> None:
    """Have the pool replace a connection whose server has gone meanwhile, which costs no round trip to see: all there is
    to read from an idle one is a last word, and then its end."""
    try:
        connection.poll()
        connection.poll()
    except psycopg2.Error:
        raise DisconnectionError from None


def psycopg2_url(url: str) -> URL:
    """A database's URL with our driver in it; SQLAlchemy 2.1 would take psycopg 3 for plain `postgresql://`."""
    return make_url(url).set(drivername="postgresql+psycopg2")


def _sessions(engine: Engine) -> Sessions:
    return sessionmaker(engine, expire_on_commit=False)
