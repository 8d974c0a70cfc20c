"""What the figures were measured on, and the limits of the machine that no design can pass."""

from __future__ import annotations

import os
import platform
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil
import psycopg2
from psycopg2.extras import execute_values

from benchmarks.servers import Servers
from benchmarks.systems.work import FEE, SERVICES, owner

PROCESSORS = 2
"""Everything runs on so many, servers and clients too, however many there are: figures are then comparable."""

BUSY_PERCENT = 10
"""Above it somebody else uses the machine, and figures come out lower than they are."""

ROWS_A_COMMIT = 500
PLAIN_TABLE = """
CREATE TABLE plain_orders (
  id uuid PRIMARY KEY DEFAULT uuidv7(), owner_id uuid NOT NULL, customer_id text NOT NULL, services text[] NOT NULL,
  total_fee numeric(12, 2) NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL
)
"""
INSERT = "INSERT INTO plain_orders (owner_id, customer_id, services, total_fee, created_at, updated_at) VALUES %s"


def keep_to_processors() -> None:
    """Run this process, and all it starts, on the first PROCESSORS that it may use; where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:PROCESSORS])


def in_use() -> float:
    """Percent of the machine's processors that are in use now, over a second; asked for before anything begins."""
    percent: float = psutil.cpu_percent(interval=1)
    return percent


def facts(servers: Servers) -> dict[str, Any]:
    """Processor, memory, system and the servers' versions and settings; nothing that names the machine."""
    ((postgres, fsync, commit),) = servers.rows(
        "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')"
    )
    with servers.client() as client:
        redis = client.info("server")["redis_version"]
        appendfsync = client.config_get("appendfsync")["appendfsync"]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "processors": psutil.cpu_count(),
        "processors_used": min(PROCESSORS, psutil.cpu_count() or PROCESSORS),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": f"{postgres}, fsync {fsync}, synchronous_commit {commit}",
        "redis": f"{redis}, appendfsync {appendfsync}",
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    names = [line for line in known.read_text().splitlines() if line.startswith("model name")] if known.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def insert_limit(servers: Servers, connections: int, seconds: float) -> float:
    """Rows per second that PostgreSQL takes in plain multi-row inserts of ROWS_A_COMMIT, by so many connections at
    once: into a table of orders with a primary key and nothing else."""
    servers.rows(PLAIN_TABLE)
    try:
        counts = [0] * connections
        deadline = perf_counter() + seconds
        threads = [
            threading.Thread(target=_insert, args=(servers.postgres.url(), counts, index, deadline))
            for index in range(connections)
        ]
        began = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (perf_counter() - began)
    finally:
        servers.rows("DROP TABLE plain_orders")


def _insert(url: str, counts: list[int], index: int, deadline: float) -> None:
    """One connection's share. The statement is put together once: what is measured is the server."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        template = "(%s, %s, %s, %s, now(), now())"
        values = [(owner(0), f"customer-{number}", SERVICES, FEE) for number in range(ROWS_A_COMMIT)]
        execute_values(cursor, INSERT, values, template, page_size=ROWS_A_COMMIT)
        statement = cursor.query or b""
        connection.commit()
        while perf_counter() < deadline:
            cursor.execute(statement)
            connection.commit()
            counts[index] += ROWS_A_COMMIT
