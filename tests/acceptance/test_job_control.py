"""Jobs canceled and run again, in the whole system: over HTTP, and by the command line alone."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from tests.acceptance.stack import Stack, children_of
from tests.failures import unwritable
from tests.processes import ROOT, environment, kill, python, until
from tests.system.client import Client

SLOW = """
    CREATE FUNCTION take_your_time() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.0005); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION take_your_time()
    """


def flask(stack: Stack, *args: str) -> subprocess.CompletedProcess[str]:
    """A command, as whoever is at the command line gives it."""
    command = python("-m", "flask", "--app", "api.app", "jobs", *args)
    told = environment(stack.settings, **stack.redis_as("api"))
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def data(stack: Stack, *args: str) -> Any:
    done = flask(stack, *args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def slow_tasks(stack: Stack) -> Iterator[None]:
    """Each new task takes half a millisecond longer."""
    stack.rows(SLOW)
    try:
        yield
    finally:
        stack.rows("DROP TRIGGER slow ON tasks; DROP FUNCTION take_your_time")


def test_a_failed_job_is_found_inspected_and_replayed_to_success_by_the_command_line_alone(
    stack: Stack, user: Client
) -> None:
    since = ("--failed-after", datetime.now(UTC).isoformat().replace("+00:00", "Z"))
    with stack.workers(1), stack.deliverers(), stack.scheduler():
        with unwritable(stack.rows):
            job = user.placed("ada@example.com")["id"]
            assert user.until_final(job, 60)["status"] == "failed"
        (letter,) = data(stack, "dead", "list", "--kind", "orders.place", *since)["data"]
        assert (letter["id"], letter["status"], letter["error"]["code"]) == (job, "failed", "job_failed")
        inspected = flask(stack, "dead", "show", job)
        assert (inspected.returncode, "[redacted]" in inspected.stdout) == (0, True)
        assert "ada@example.com" not in inspected.stdout
        replayed = flask(stack, "dead", "replay", "--code", "job_failed", *since)
        assert (replayed.returncode, replayed.stdout) == (0, "1 replayed, 0 under way, 0 skipped, 0 left.\n")
        user.until_final(job)
        assert data(stack, "show", job)["status"] == "succeeded"
        assert flask(stack, "dead", "list", *since).stdout == "No dead letters.\n"
    assert stack.effects(user) == {job: 1}


def test_a_running_batch_of_ten_thousand_stops_and_leaves_nothing(stack: Stack, user: Client) -> None:
    body = {"action": "create", "tasks": [{"title": f"Task {n}"} for n in range(10_000)]}
    with stack.workers(1), slow_tasks(stack):
        job = user.post(body, "/v1/tasks/batch").json()["id"]
        until(lambda: ((user.job(job)["progress"] or {}).get("done", 0)) > 0)
        answer = user("DELETE", f"/v1/jobs/{job}", headers={"Prefer": "wait=20"})
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert stack.rows("SELECT count(*) FROM tasks WHERE owner_id = %s", str(user.owner)) == [(0,)]
    assert stack.receipts(user) == {job: ("canceled", None)}


def test_what_was_canceled_is_written_down_once_through_workers_that_are_killed(stack: Stack, user: Client) -> None:
    ids = [user.placed(f"c{number}")["id"] for number in range(200)]
    for job in ids[::2]:
        answer = user("DELETE", f"/v1/jobs/{job}")
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    with stack.slow_commits(0.05), stack.workers(2, batch=5) as supervisor:
        for _ in range(4):
            time.sleep(0.3)
            for child in children_of(supervisor)[:1]:
                kill(child)
        stack.until_done(user, set(ids))
    assert stack.receipts(user) == {job: ("canceled", None) if job in ids[::2] else ("succeeded", None) for job in ids}
    assert stack.effects(user) == dict.fromkeys(ids[1::2], 1)
    stack.assert_told_truly(user)
    stack.lose_redis_data()
    stack.assert_told_truly(user)
