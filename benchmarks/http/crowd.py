"""Those who only listen: clients that follow something, or wait for a job, and hear nothing meanwhile."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from itertools import cycle, islice
from urllib.parse import quote
from uuid import uuid4

import psycopg2

from benchmarks.http.servers import Backend, Server
from local.processes import wait_until

STREAMS, OF_CALLS, WAITERS = 500, 100, 200
"""Streams in all, and how many of them are of calls; the others are of jobs, and each is of one of its own."""

AT_A_TIME = 20
"""Who come together: fewer than a process refuses as too many (`MAX_IN_FLIGHT`)."""

WITHIN = 20.0
"""Seconds in which they have to be let in, and to go: gunicorn's threads keep a connection for 15 s that was closed."""

ITS_OWN = 40
"""Connections that a process may come to have to PostgreSQL and Redis."""

WATCHED = "millrace:watched"
"""The set of jobs whose end somebody is to be told of."""

ACCEPTED = 202
ORDER = json.dumps({"services": ["123"], "total_fee": "1.00"})
ADD_CALLS = """
    INSERT INTO calls (id, owner_id, phone_number, customer_name, workflow, status, created_at, updated_at)
    SELECT id, owner, '+1500' || (1000000 + row_number() OVER ()), 'Ada', 'support', 'ringing', now(), now()
    FROM unnest(%s::uuid[], %s::uuid[]) AS call(id, owner)
    """


@contextmanager
def listening(server: Server, own: Backend) -> Iterator[None]:
    """STREAMS and WAITERS are there for the length of a block, which has to end before the waiters' 30 s do; afterwards Redis is
    empty, and the process as it was before. Raises TimeoutError where they are not let in, or go."""
    (process,) = server.master.children()
    files = process.num_fds() + ITS_OWN
    tokens = list(islice(cycle(server.tokens), STREAMS))
    followed = zip(_scheduled(server, STREAMS - OF_CALLS), tokens, strict=False)
    waited_for = zip(_scheduled(server, WAITERS), tokens, strict=False)
    called = zip(_calls(own, tokens[:OF_CALLS]), tokens, strict=False)
    streams = [_asking(f"/v1/jobs/{name}/events", token) for name, token in followed]
    streams += [_asking(f"/v1/calls/{name}/events", token) for name, token in called]
    waiters = [_asking(f"/v1/jobs/{name}", token, "Prefer: wait=30\r\n") for name, token in waited_for]
    with ExitStack() as open_ones:
        for group in _groups(streams):
            connections = [_sent(server.port, request, open_ones) for request in group]
            if any(not connection.recv(1 << 16).startswith(b"HTTP/1.1 200") for connection in connections):
                raise TimeoutError("a stream was refused")
        watched = STREAMS - OF_CALLS
        for group in _groups(waiters):
            for request in group:
                _sent(server.port, request, open_ones)
            watched += len(group)
            _until(lambda: own.redis.scard(WATCHED) >= watched)  # noqa: B023 - called at once
        yield
    _until(lambda: process.num_fds() <= files + WAITERS)
    own.empty()  # what is waited for is there no more
    _until(lambda: process.num_fds() <= files)


def _until(condition: Callable[[], bool]) -> None:
    if not wait_until(condition, within=WITHIN):
        raise TimeoutError("those who listen were not let in, or did not go")


def _scheduled(server: Server, count: int) -> list[str]:
    """Jobs that are due tomorrow, of all users in turn; asked for again where a busy disk made Redis's answer late."""
    tomorrow = quote((datetime.now(UTC) + timedelta(days=1)).isoformat())
    ids: list[str] = []
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=WITHIN)) as connection:
        while len(ids) < count:
            token = server.tokens[len(ids) % len(server.tokens)]
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request("POST", f"/v1/orders?run_at={tomorrow}", ORDER, headers)
            answer = connection.getresponse()
            job = json.loads(answer.read())
            if answer.status == ACCEPTED:
                ids.append(str(job["id"]))
    return ids


def _calls(own: Backend, tokens: Sequence[str]) -> list[str]:
    """Calls that ring and ring, one of each token's owner."""
    ids = [str(uuid4()) for _ in tokens]
    with closing(psycopg2.connect(own.environment["DATABASE_URL"])) as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE calls, call_events")
        cursor.execute(ADD_CALLS, [ids, [_owner(token) for token in tokens]])
        connection.commit()
    return ids


def _owner(token: str) -> str:
    claims = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"])


def _asking(path: str, token: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{more}\r\n".encode()


def _sent(port: int, request: bytes, open_ones: ExitStack) -> socket.socket:
    connection = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WITHIN))
    connection.sendall(request)
    return connection


def _groups(requests: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (requests[start : start + AT_A_TIME] for start in range(0, len(requests), AT_A_TIME))
