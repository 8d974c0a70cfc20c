"""How long an order takes at a low, steady rate: from the client's asking until others can see its committed row."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import psycopg2
import psycopg2.extensions

from benchmarks.figures import Spread, spread
from benchmarks.servers import Servers
from benchmarks.system import System

RATE = 50.0
"""Orders per second (BARS of the project: latency is measured at 50 orders/s)."""

WARM_ORDERS, WARM_RATE, WARM_WITHIN = 20, 25.0, 15.0
KEEPS_UP = 0.98
"""The share that has to be there a second after the last was asked for; below it, a system cannot keep up."""

TELL = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('placed', NEW.id::text); RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION tell();
"""
FORGET = "DROP TRIGGER tell ON orders; DROP FUNCTION tell();"


@dataclass
class Watch:
    """When each order was seen to be committed, seconds since the epoch, by id."""

    seen: dict[str, float] = field(default_factory=dict)

    def until(self, ids: Collection[str], seconds: float) -> int:
        """Wait until all of these are there, so many seconds at most; how many are."""
        deadline = time.monotonic() + seconds
        while (found := sum(job_id in self.seen for job_id in ids)) < len(ids) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found


@contextmanager
def watching(servers: Servers) -> Iterator[Watch]:
    """Notice every order as soon as PostgreSQL tells that it is committed: NOTIFY delivers after the commit
    (https://www.postgresql.org/docs/18/sql-notify.html), so what is measured has its delivery in it."""
    servers.rows(TELL)
    watch, stopped = Watch(), threading.Event()
    try:
        with closing(psycopg2.connect(servers.postgres.url())) as connection:
            connection.autocommit = True
            connection.cursor().execute("LISTEN placed")
            listener = threading.Thread(target=_listen, args=(connection, watch, stopped), daemon=True)
            listener.start()
            yield watch
            stopped.set()
            listener.join(timeout=2)
    finally:
        servers.rows(FORGET)


def _listen(connection: psycopg2.extensions.connection, watch: Watch, stopped: threading.Event) -> None:
    while not stopped.is_set():
        if select.select([connection], [], [], 0.2)[0]:
            connection.poll()
            now = time.time()
            watch.seen.update((notice.payload, now) for notice in connection.notifies)
            connection.notifies.clear()


def asked_to_committed(system: System, seconds: float) -> Spread | None:
    """Milliseconds from just before a client asks to the row being committed, with one worker process; None for a
    system that cannot keep up with RATE."""
    system.servers.empty()
    with watching(system.servers) as watch, system.working("one"):
        watch.until(system.pace(WARM_RATE, WARM_ORDERS / WARM_RATE), WARM_WITHIN)
        asked = system.pace(RATE, seconds)
        if watch.until(asked, 1) < len(asked) * KEEPS_UP:
            return None
        return spread([(watch.seen[job] - at) * 1000 for job, at in asked.items() if job in watch.seen])
