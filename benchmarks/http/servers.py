"""The servers under load: each application under Millrace's own gunicorn configuration, beside one durable Redis."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from uuid import UUID, uuid4

import psutil
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token
from redis import Redis as Client

from api.tokens import Tokens
from config import Settings
from jobs.kernel import broker, keys
from local.postgres import READER, Postgres
from local.processes import end, free_port, tail, wait_until
from local.redis import Redis
from models import migrate, roles

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = {
    "bare": "benchmarks.http.bare:create_app()",
    "plain": "benchmarks.http.plain:create_app()",
    "millrace": "api.app:create_app()",
}
READ = {
    "empty": "benchmarks.http.empty:create_app()",
    "counted": "benchmarks.http.empty:counted()",
    "cached": "api.app:create_app()",
    "uncached": "api.app:create_app()",
}
"""Those that are read from (`benchmarks.http.reads`)."""

TOLD = {"uncached": {"CACHE_TTL_SECONDS": "0"}, "cached": {"CACHE_TTL_SECONDS": "3600"}}
"""What a server finds in its environment beside what all do."""

USERS = 100
LIMIT = "100000000/minute"
"""Of each user: counted on every request, and never reached."""


@dataclass(frozen=True)
class Backend:
    """PostgreSQL and Redis, durable as in production; `environment` is what the servers find in theirs."""

    environment: dict[str, str]
    redis: Client
    folder: Path

    def empty(self) -> None:
        """Take everything out of Redis but the sessions of those who send."""
        kept = {name: self.redis.hgetall(name) for name in self.redis.scan_iter(keys.sessions("*"))}
        self.redis.flushall()
        for name, sessions in kept.items():
            self.redis.hset(name, mapping=sessions)


@dataclass(frozen=True)
class Server:
    """One application that is being served. `tokens`: of its users."""

    name: str
    port: int
    master: psutil.Process
    tokens: list[str]

    def requests(self, many: int = 2000, *, keyed: bool = False) -> list[bytes]:
        """That many orders, from all users in turn, as they go over the wire. `keyed`: each has a key of its own."""
        keys = ({"Idempotency-Key": f"order-{number}"} if keyed else {} for number in range(many))
        return [self._request(number, key) for number, key in enumerate(keys)]

    def cpu_seconds(self) -> float:
        """What its serving processes have used so far, user and system."""
        return sum(sum(child.cpu_times()[:2]) for child in self.master.children())

    def _request(self, number: int, more: dict[str, str]) -> bytes:
        order = {"services": ["123", "456"], "total_fee": "100.00", "customer_id": f"customer-{number}"}
        body = json.dumps(order).encode()
        headers = {
            "Host": f"127.0.0.1:{self.port}",
            "User-Agent": "load",
            "Accept": "*/*",
            "Authorization": f"Bearer {self.tokens[number % len(self.tokens)]}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **more,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST /v1/orders HTTP/1.1\r\n{head}\r\n".encode() + body


@contextmanager
def backend() -> Iterator[Backend]:
    """Servers of their own for the length of a block, in a folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="millrace-http-") as name:
        folder = Path(name)
        postgres, redis = Postgres(folder / "postgres"), Redis(folder / "redis", options={"maxmemory": "4gb"})
        try:
            postgres.start()
            redis.start()
            environment = {
                "ENVIRONMENT": "production",
                "DATABASE_URL": postgres.url(),
                "READ_DATABASE_URL": postgres.url(user=READER),
                "REDIS_URL": redis.url,
                "SECRET_KEY": secrets.token_urlsafe(48),
                "JWT_SECRET_KEY": secrets.token_urlsafe(48),
                "RATE_LIMIT_USER": LIMIT,
                "RATE_LIMIT_BULK_LINES": LIMIT,
                "MAX_QUEUE_DEPTH": "10000000",
            }
            migrate.migrate(environment["DATABASE_URL"])
            roles.sync(environment["DATABASE_URL"], environment["READ_DATABASE_URL"], "")
            with Client.from_url(redis.url) as client:
                yield Backend(environment, client, folder)
        finally:
            redis.remove()
            postgres.remove()


@contextmanager
def serve(name: str, own: Backend, *, processes: int = 2, options: tuple[str, ...] = ()) -> Iterator[Server]:
    """Serve an application for the length of a block. Raises TimeoutError, with the end of its log, when it does not
    come up."""
    port, log = free_port(), own.folder / f"{name}.log"
    bind = ("--bind", f"127.0.0.1:{port}")
    command = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.py", *bind, *options, (APPS | READ)[name]]
    environment = {**os.environ, **own.environment, **TOLD.get(name, {}), "WEB_CONCURRENCY": str(processes)}
    with log.open("wb") as output:
        started = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    master = psutil.Process(started.pid)
    try:
        if not wait_until(lambda: len(master.children()) == processes and _answers(port), within=30):
            raise TimeoutError(f"{name} did not come up:\n{tail(log)}")
        yield Server(name, port, master, TOKENS.get(name, _no_tokens)(own.environment))
    finally:
        end([master], within=30)
        started.wait()


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status in (200, 404)
    except OSError:
        return False
    finally:
        connection.close()


def _no_tokens(_: Mapping[str, str]) -> list[str]:
    return ["none"]


def _tokens_of_plain(environment: Mapping[str, str]) -> list[str]:
    app = Flask("tokens")
    app.config["JWT_SECRET_KEY"] = environment["JWT_SECRET_KEY"]
    JWTManager(app)
    with app.app_context():
        return [create_access_token(str(uuid4())) for _ in range(USERS)]


def _tokens_of_millrace(environment: Mapping[str, str]) -> list[str]:
    return tokens_of([uuid4() for _ in range(USERS)], environment)


def tokens_of(users: Sequence[UUID], environment: Mapping[str, str]) -> list[str]:
    """An access token of each, in a session of its own."""
    app = Flask("tokens")
    settings = Settings.model_validate({name.lower(): value for name, value in environment.items()})
    tokens, redis = Tokens(app, settings), broker.connect(settings.redis_url)
    made = []
    with app.app_context():
        for user in users:
            session = str(uuid4())
            redis.hset(keys.sessions(user), session, b'{"version": 1}')
            made.append(tokens.access(user, role="user", session=session, session_version=1))
    redis.close()
    return made


TOKENS: dict[str, Callable[[Mapping[str, str]], list[str]]] = {
    "plain": _tokens_of_plain,
    "millrace": _tokens_of_millrace,
}
"""Of those servers to which orders are sent, and that ask who sends them."""
