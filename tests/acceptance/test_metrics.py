"""Ten thousand jobs of many kinds, by several processes of the API and of workers: /metrics and PostgreSQL tell the same of them."""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
import requests

from jobs.kernel import broker, keys, registry
from jobs.kernel.submit import Accepted, Submission, Submitter, new_id
from tests.acceptance.stack import LAST, Stack, children_of
from tests.probes import SCHEMA, declared
from tests.processes import kill, until
from tests.scrapes import Scrape
from tests.system.client import Client, order
from tests.system.stack import Entry
from tests.system.threads import by_threads

TOKEN = secrets.token_urlsafe(32)
JOBS = 10_000
PROBES = {"nothing": 1500, "reject": 400, "fail": 200, "cancel": 100, "raise once": 100, "raise": 40}
"""What probes do, and how many."""

ASKED = 1000
"""Requests that clients send, of which some are no jobs."""

KILLED = 1500
"""Jobs while whose workers are killed."""

EXACT = ("accepted", "finished")
"""What is counted by the scripts that make it so."""

PRODUCED = """
SELECT kind, state, count(*), sum(attempts), coalesce(sum(extract(epoch FROM finished_at - greatest(submitted_at, run_at))), 0)
FROM receipts GROUP BY kind, state
"""
ERRORS = "SELECT kind, error->>'code', count(*) FROM receipts WHERE error IS NOT NULL GROUP BY 1, 2"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One of its own: all that is in it is counted."""
    entry = Entry("tests.probes:create_app()", "tests.probes")
    settings = {
        "metrics_token": TOKEN,
        "lease_seconds": 2,
        "event_sweep_seconds": 3600,
        "overdue_every_seconds": 3600,
        "call_reconcile_seconds": 3600,
    }
    with Stack.started(tmp_path_factory.mktemp("metrics"), entry=entry, **settings) as started, declared():
        started.rows(SCHEMA)
        yield started


def scraped(stack: Stack) -> Scrape:
    """By whichever process of the API takes it."""
    headers = {"Authorization": f"Bearer {TOKEN}", **LAST}
    answer = requests.get(f"{stack.base_url}/metrics", headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)


def compared(stack: Stack) -> dict[str, tuple[Any, Any]]:
    """What /metrics tells, and what it should by what PostgreSQL has of all jobs."""
    scrape, rows = scraped(stack), stack.rows(PRODUCED)
    by_kind, executions, retries, seconds = Counter[Any](), Counter[Any](), Counter[Any](), Counter[Any]()
    executions.update({kind: int(count) for kind, count in scrape.by("millrace_job_snoozes_total", "kind").items()})
    for kind, _, count, attempts, took in rows:
        by_kind[kind,] += count
        executions[kind,] += attempts
        retries[kind,] += attempts - count
        seconds[kind,] += float(took)
    return {
        "accepted": (scrape.by("millrace_jobs_accepted_total", "kind"), by_kind),
        "finished": (
            scrape.by("millrace_jobs_finished_total", "kind", "outcome"),
            {(kind, state): count for kind, state, count, *_ in rows},
        ),
        "retries": (scrape.by("millrace_job_retries_total", "kind"), +retries),
        "waits": (scrape.by("millrace_job_queue_wait_seconds_count", "kind"), executions),
        "runs": (scrape.by("millrace_job_run_seconds_count", "kind"), executions),
        "ends": (scrape.by("millrace_job_end_to_end_seconds_count", "kind"), by_kind),
        "seconds": (
            scrape.by("millrace_job_end_to_end_seconds_sum", "kind"),
            pytest.approx(dict(seconds), rel=0.001),
        ),
        "batches": (sum(scrape.by("millrace_batch_jobs_sum").values()), executions.total()),
        "errors": (
            scrape.by("millrace_job_errors_total", "kind", "code"),
            {(kind, code): count for kind, code, count in stack.rows(ERRORS)},
        ),
    }


def agree(stack: Stack, on: Collection[str] = ()) -> bool:
    """Whether both tell the same: of all, or of some."""
    found = compared(stack)
    return all(told == kept for told, kept in (found[name] for name in on or found))


def ask(stack: Stack, user: Client) -> Counter[tuple[str, str, str]]:
    """Have clients ask for jobs, and for what is none; what was answered, by method, route and status."""

    def one(number: int) -> tuple[str, str, str]:
        match number % 5:
            case 0:
                method, path, body = "POST", "/v1/orders", order(f"asked-{number % 400}")
            case 1:
                method, path, body = "POST", "/v1/tasks", {"title": f"Task {number}"}
            case 2:
                method, path, body = "POST", "/v1/events", {"name": "thing.happened"}
            case 3:
                method, path, body = "POST", "/v1/tasks", {"title": ""}
            case _:
                method, path, body = "GET", "/v1/services", None
        return method, path, str(user(method, path, json=body).status_code)

    return Counter(by_threads(8, one, range(ASKED)))


def made(user: Client, kind: str, body: dict[str, Any]) -> Submission:
    command = registry.find(kind)
    assert command is not None
    return Submission(new_id(), command.model_validate(body), user.owner)


def submit(stack: Stack, todo: Sequence[Submission]) -> None:
    redis = broker.connect(stack.redis_as("api")["REDIS_URL"], timeout=5)
    results = Submitter(redis, stack.settings).submit_many(todo)
    redis.close()
    assert all(isinstance(result, Accepted) for result in results)


def mixed(user: Client, count: int) -> list[Submission]:
    """Probes, and as many jobs of other kinds as there is room for in `count`."""
    todo = [made(user, "test.parcel", {}) for _ in range(200)]
    todo += [made(user, "test.probe", {"do": deed}) for deed, number in PROBES.items() for _ in range(number)]
    for number in range(count - len(todo)):
        match number % 3:
            case 0:
                todo.append(made(user, "orders.place", order(f"submitted-{number % 3000}")))
            case 1:
                todo.append(made(user, "tasks.create", {"title": f"Task {number}"}))
            case _:
                todo.append(made(user, "test.many", {}))
    return todo


@pytest.mark.timeout(240)
def test_metrics_agree_with_the_database_after_ten_thousand_mixed_jobs(stack: Stack) -> None:
    user = stack.person()
    with stack.workers(2, batch=100), stack.deliverers(), stack.callers(threads=1), stack.scheduler():
        asked = ask(stack, user)
        accepted = sum(count for (_, _, status), count in asked.items() if status == "202")
        submit(stack, mixed(user, JOBS - accepted))
        until(lambda: stack.done(user) >= JOBS, 120)
        with suppress(AssertionError):
            until(lambda: agree(stack), 10)
        for name, (told, kept) in compared(stack).items():
            assert told == kept, name
        scrape = scraped(stack)
    assert stack.done(user) == JOBS
    outcomes = scrape.by("millrace_jobs_finished_total", "outcome")
    assert outcomes.keys() == {("succeeded",), ("rejected",), ("failed",), ("canceled",)}
    assert {key: count for key, count in asked.items() if key[1] != "/v1/services"}.items() <= scrape.by(
        "millrace_http_requests_total", "method", "route", "status"
    ).items()
    assert {"orders", "tasks"} <= {queue for (queue,) in scrape.by("millrace_batch_jobs_count", "queue")}
    raised = sum(PROBES[deed] * times for deed, times in (("raise once", 1), ("raise", 3)))
    assert scrape("millrace_log_events_total", event="job_raised") == raised
    assert scrape("millrace_queue_depth") == scrape("millrace_queue_leases") == 0
    assert scrape("millrace_dead_letters", kind="test.probe") == PROBES["fail"] + PROBES["raise"]


def test_jobs_are_counted_once_whoever_is_killed(stack: Stack) -> None:
    """What else is counted may lack the last second of those who were."""
    user = stack.person()
    with stack.slow_commits(0.05), stack.workers(3, batch=20) as supervisor:
        submit(stack, [made(user, "orders.place", order(f"killed-{number}")) for number in range(KILLED)])
        for _ in range(4):
            time.sleep(0.4)
            kill(random.choice(children_of(supervisor)))
        until(lambda: stack.done(user) >= KILLED, 60)
        until(lambda: agree(stack, EXACT), 30)
    assert scraped(stack)("millrace_jobs_reaped_total", queue="orders") > 0, "nobody was killed with anything in hand"


def test_what_processes_of_the_api_count_is_added_up_when_they_are_stopped(stack: Stack) -> None:
    user = stack.person()
    before = scraped(stack)("millrace_http_requests_total", route="/v1/services")
    assert [user.get("/v1/services", headers=LAST).status_code for _ in range(20)] == [200] * 20
    assert stack.stop_api() == [0]
    counted = stack.in_redis(lambda redis: int(redis.hget(keys.METERS, "requests|GET|/v1/services|200")))
    assert counted == before + 20
