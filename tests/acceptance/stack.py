"""The whole system as it runs in production, on a PostgreSQL and a Redis of its own that a test may kill."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any
from uuid import UUID

import psutil
import psycopg2
import requests
from argon2 import PasswordHasher

from config import Settings
from jobs.kernel import broker
from local.postgres import OWNER, READER, SUPERUSER, Postgres
from local.processes import free_port
from local.redis import Redis
from models import migrate, roles
from tests.acceptance.client import Client, Job, by_threads
from tests.processes import children, python, running, until

API_PROCESSES = 3
SOME = 500
LAST = {"Connection": "close"}
"""So that the next request is taken by whichever process comes."""

LOGS = ("api", "workers", "scheduler")
LIMITS = dict.fromkeys(("rate_limit_user", "rate_limit_login_address", "rate_limit_login_account"), "100000/minute")
"""Counted as in production, and never reached."""

QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
ADD_PERSON = "INSERT INTO users (email, name, password_hash, role) VALUES (%s, %s, %s, %s) RETURNING id::text"
HIDE_NO_DUPLICATE = """
DO $$ BEGIN
  EXECUTE (SELECT 'ALTER TABLE orders DROP CONSTRAINT ' || quote_ident(conname)
           FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype = 'p');
END $$;
CREATE INDEX ON orders (id)
"""
"""A primary key would turn an effect that happens twice into an error; without it, the effect is there to be counted."""


@dataclass
class Stack:
    """PostgreSQL, Redis and the API run from `started` on; workers and schedulers as long as a test wants them.

    `secrets`: what must never be found in a log or in Redis.
    """

    folder: Path
    postgres: Postgres
    redis: Redis
    settings: Settings
    port: int
    secrets: list[str] = field(default_factory=list)
    _clients: list[Client] = field(default_factory=list)
    _api: ExitStack = field(default_factory=ExitStack)
    _serving: Popen[bytes] = field(init=False)

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Stack]:
        """A stack with durable servers and an empty, migrated database; all of it is gone afterwards."""
        postgres, redis = Postgres(folder / "postgres"), Redis(folder / "redis")
        with ExitStack() as stack:
            stack.callback(postgres.remove)
            postgres.start()
            stack.callback(redis.remove)
            redis.start()
            url, read_url = postgres.url(), postgres.url(user=READER)
            roles.sync(url, read_url)
            migrate.migrate(url)
            settings = Settings(
                environment="production",
                database_url=url,
                read_database_url=read_url,
                redis_url=redis.url,
                secret_key=secrets.token_urlsafe(32),
                jwt_secret_key=secrets.token_urlsafe(32),
                lease_seconds=3,
            )
            made = cls(folder, postgres, redis, settings.model_copy(update=LIMITS), free_port())
            made.secrets += [settings.secret_key, settings.jwt_secret_key]
            made.rows(HIDE_NO_DUPLICATE)
            for name in LOGS:
                made.log(name).touch()
            stack.callback(made.close)
            made.start_api()
            yield made

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_api(self) -> None:
        """Serve, as the Procfile does; returns when it answers."""
        address = f"127.0.0.1:{self.port}"
        command = python("-m", "gunicorn", "--config", "deploy/gunicorn.py", "--bind", address, "api.app:create_app()")
        more = {"WEB_CONCURRENCY": str(API_PROCESSES)}
        self._serving = self._api.enter_context(running(command, self.settings, self.log("api"), **more))
        until(self._answers)

    def stop_api(self, others: Sequence[Popen[bytes]] = ()) -> list[int]:
        """Ask the API and other processes to stop, all at once; their exit statuses, the API's first."""
        everyone = [self._serving, *others]
        for process in everyone:
            process.terminate()
        statuses = [process.wait(60) for process in everyone]
        self._api.close()
        return statuses

    @contextmanager
    def workers(self, processes: int = 2, batch: int = 50, **settings: Any) -> Iterator[Popen[bytes]]:
        """A supervisor, whose workers have all started. `settings`: changes to those of the stack."""
        log = self.log("workers")
        before = log.read_text().count("worker_started")
        command = python("-m", "workers", "--processes", str(processes), "--batch", str(batch))
        with running(command, self.settings.model_copy(update=settings), log) as process:
            until(lambda: log.read_text().count("worker_started") >= before + processes)
            yield process

    @contextmanager
    def scheduler(self) -> Iterator[Popen[bytes]]:
        """What promotes jobs that are due; it has started."""
        log = self.log("scheduler")
        before = log.read_text().count("scheduler_started") if log.exists() else 0
        with running(python("-m", "workers.scheduler"), self.settings, log) as process:
            until(lambda: log.read_text().count("scheduler_started") > before)
            yield process

    def person(self, role: str = "user") -> Client:
        """Somebody new, who has signed in."""
        name, password = secrets.token_hex(6), f"Canary-{secrets.token_hex(8)}"
        values = [f"{name}@example.com", name, QUICK_HASHER.hash(password), role]
        ((user_id,),) = self.rows(ADD_PERSON, *values)
        credentials = {"email": values[0], "password": password}
        answer = requests.post(f"{self.base_url}/v1/auth/login", json=credentials, timeout=10)
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        self.secrets += [password, token]
        self._clients.append(Client(self.base_url, token, UUID(user_id)))
        return self._clients[-1]

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL as the owner of the tables."""
        return _run(self.postgres.url(), statement, *values)

    def receipts(self, owner: Client) -> dict[str, tuple[str, str | None]]:
        """The outcomes of record of somebody's jobs: id to status and the code of the error."""
        found = self.rows("SELECT id::text, state, error->>'code' FROM receipts WHERE owner_id = %s", str(owner.owner))
        return {job_id: (state, code) for job_id, state, code in found}

    def done(self, owner: Client) -> int:
        """How many of somebody's jobs are final."""
        ((count,),) = self.rows("SELECT count(*) FROM receipts WHERE owner_id = %s", str(owner.owner))
        return int(count)

    def effects(self, owner: Client) -> dict[str, int]:
        """How often each of somebody's orders is there, by id."""
        found = self.rows("SELECT id::text, count(*) FROM orders WHERE owner_id = %s GROUP BY 1", str(owner.owner))
        return dict(found)

    def until_done(self, owner: Client, job_ids: set[str], seconds: float = 60) -> None:
        """Wait until every job has its receipt."""
        until(lambda: self.done(owner) >= len(job_ids) and job_ids <= self.receipts(owner).keys(), seconds)

    def assert_told_truly(self, owner: Client) -> None:
        """What the API says of somebody's jobs is what PostgreSQL has: of all as a list, of up to SOME one by one."""
        kept = self.receipts(owner)
        some = sorted(kept)[:: len(kept) // SOME + 1]
        told = _told(by_threads(4, owner.job, some))
        assert not (wrong := _difference(told, {job_id: kept[job_id] for job_id in some})), wrong
        assert not (wrong := _difference(_told(owner.listed()), kept)), wrong

    def assert_each_once(self, owner: Client, job_ids: list[str]) -> None:
        """These jobs, and no others, have succeeded; each has left one order, and one only; and the API says so, also
        when Redis has lost everything."""
        assert len(set(job_ids)) == len(job_ids)
        self.until_done(owner, set(job_ids))
        assert not (wrong := _difference(self.receipts(owner), dict.fromkeys(job_ids, ("succeeded", None)))), wrong
        assert not (wrong := _difference(self.effects(owner), dict.fromkeys(job_ids, 1))), wrong
        self.assert_told_truly(owner)
        self.lose_redis_data()
        self.assert_told_truly(owner)

    def start_redis(self) -> None:
        """Start it where it is down."""
        if self.redis.pid is None:
            self.redis.start()

    def start_postgres(self, reader: Client) -> None:
        """Start it where it is down, and wait until every process of the API reads from it: each asks by the
        connections it had before, which are dead, and answers 503 once for that."""
        if self.postgres.pid is None:
            self.postgres.start()
        until(lambda: all(reader.get("/v1/orders", headers=LAST).status_code == 200 for _ in range(10 * API_PROCESSES)))

    def lose_redis_data(self) -> None:
        self.in_redis(lambda redis: redis.flushall())

    def in_redis(self, ask: Callable[[Any], Any]) -> Any:
        """Ask Redis itself."""
        redis = broker.connect(self.settings.redis_url, timeout=5)
        try:
            return ask(redis)
        finally:
            redis.close()

    def log(self, name: str) -> Path:
        """Where one of LOGS is kept."""
        return self.folder / f"{name}.log"

    def lines(self, name: str) -> list[Mapping[str, Any]]:
        """What one of LOGS holds of JSON."""
        return [json.loads(line) for line in self.log(name).read_text().splitlines() if line.startswith("{")]

    @contextmanager
    def slow_commits(self, seconds: float) -> Iterator[None]:
        """Let every commit of those who connect in this block take so long, as on a slow disk: a worker that is killed
        is then most often in the middle of one, which goes through though nobody hears of it."""
        as_superuser = partial(_run, self.postgres.url("postgres", SUPERUSER))
        as_superuser(f"ALTER ROLE {OWNER} SET commit_delay = {int(seconds * 1_000_000)}")
        as_superuser(f"ALTER ROLE {OWNER} SET commit_siblings = 0")
        try:
            yield
        finally:
            as_superuser(f"ALTER ROLE {OWNER} RESET ALL")

    def close(self) -> None:
        """End the API, and all connections to it."""
        for client in self._clients:
            client.close()
        self._api.close()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.base_url}/healthz", timeout=2).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False


def _run(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []


def _difference(found: Mapping[str, object], expected: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """What was found and what was expected, of each id where these are not the same."""
    ids = found.keys() | expected.keys()
    return {name: (found.get(name), expected.get(name)) for name in ids if found.get(name) != expected.get(name)}


def _told(jobs: list[Job]) -> dict[str, tuple[str, str | None]]:
    return {job["id"]: (job["status"], job["error"] and job["error"]["code"]) for job in jobs}


@contextmanager
def again_and_again(work: Callable[[], object], pause: float) -> Iterator[None]:
    """Do something in a thread for the length of the block, with pauses of so many seconds. Raises what it raised."""
    stop, raised = threading.Event(), []

    def run() -> None:
        try:
            while not stop.wait(pause):
                work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    if raised:
        raise raised[0]


def workers_of(supervisor: Popen[bytes]) -> list[psutil.Process]:
    """The worker processes that run now."""
    return [child for child in children(supervisor.pid) if child.status() != psutil.STATUS_ZOMBIE]
